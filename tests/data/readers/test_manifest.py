import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.readers.manifest import parse
from crossreid.data.readers.manifest_rows import Notes, nearest_column, read_rows
from crossreid.data.records import DataError, Modality


def written(folder, text, encoding="utf-8"):
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder


def rows(identities=10, images=4, header="path,identity"):
    return header + "\n" + "".join(f"{i}/{k}.jpg,animal {i}\n" for i in range(identities) for k in range(images))


def identities(records):
    return {record.identity for record in records}


def test_two_columns_are_enough(tmp_path):
    alone = parse(written(tmp_path, rows()))
    assert alone.query == alone.gallery, "of one modality each image asks all others"
    assert len(identities(alone.query)) == 3
    split = parse(written(tmp_path, rows()), pseudo_infrared="query")
    assert (len(identities(split.train)), len(identities(split.validation)), len(identities(split.query))) == (6, 1, 3)
    assert identities(split.train).isdisjoint(identities(split.query) | identities(split.validation))
    assert identities(split.query) == identities(split.gallery)


def test_no_photograph_asks_and_answers(tmp_path):
    text = "path,identity,camera\n" + "".join(
        f"{i}/{camera}_{side}.jpg,{i},{camera}\n" for i in range(9) for camera in (1, 2, 3) for side in "lr"
    )
    split = parse(written(tmp_path, text), pseudo_infrared="query")
    asked = {(record.identity, record.camera) for record in split.query}
    answered = {(record.identity, record.camera) for record in split.gallery}
    assert asked.isdisjoint(answered), "with cameras known, a sighting is on one side only"
    assert all(record.pseudo_infrared and record.modality == Modality.INFRARED for record in split.query)
    assert not any(record.pseudo_infrared for record in split.gallery)
    once = [record.path for record in split.train if not record.pseudo_infrared]
    assert sorted(once) == sorted(record.path for record in split.train if record.pseudo_infrared)


@given(seed=st.integers(0, 10**6), test=st.floats(0.2, 0.6))
def test_identities_are_divided_whole_and_the_same_way_each_time(tmp_path_factory, seed, test):
    folder = written(tmp_path_factory.mktemp("m"), rows())
    fractions = (1 - test, 0.0, test)
    one, two = (parse(folder, pseudo_infrared="query", fractions=fractions, seed=seed) for _ in range(2))
    assert one == two
    assert identities(one.train) | identities(one.query) == {f"animal {i}" for i in range(10)}
    assert identities(one.train).isdisjoint(identities(one.query))
    assert len(identities(one.query)) == round(10 * test)


@pytest.mark.parametrize(
    ("separator", "end", "bom"), [(",", "\n", ""), (";", "\r\n", "\ufeff"), ("\t", "\n", "\ufeff")]
)
def test_what_spreadsheets_write(tmp_path, separator, end, bom):
    lines = ["path,identity,camera,modality,tracklet,split"]
    for i in range(4):
        split = "train" if i < 2 else "test"
        lines += [f"{i}v.jpg,Zoë {i},1,visible,t1,{split}", f"{i}n.jpg,Zoë {i},,IR,,{split}"]
    text = bom + end.join(line.replace(",", separator) for line in lines)
    split = parse(written(tmp_path, text) / "manifest.csv")
    assert [(r.identity, r.camera, r.tracklet) for r in split.gallery] == [("Zoë 2", 1, "t1"), ("Zoë 3", 1, "t1")]
    assert [(r.identity, r.camera, r.tracklet) for r in split.query] == [("Zoë 2", 0, None), ("Zoë 3", 0, None)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,name\na.jpg,x\n", "line 1: column 'identity' is missing"),
        ("path,identity\n", "lists no image"),
        ("path,identity\na.jpg,\n", "line 2: path and identity must not be empty"),
        ("path,identity\na.jpg,x\na.jpg,x\n", "line 3: a.jpg is already listed in line 2"),
        ("path,identity,camera\na.jpg,x,north\n", "line 2: camera is 'north'"),
        ("path,identity,modality\na.jpg,x,radar\n", "line 2: modality is 'radar'"),
        ("path,identity,split\na.jpg,x,training\n", "line 2: split is 'training'"),
        ("path,identity,split\na.jpg,x,train\nb.jpg,x,\n", "has no split"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,x,test,ir\n", "identity 'x' is in train and in test"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,y,query,ir\n", "gallery is empty"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,y,gallery,ir\n", "query is empty"),
        ("path,identity,split\na.jpg,x,train\n", "query is empty"),
        ('path,identity\na.jpg,x\nb.jpg,"y\nc.jpg,z\nd.jpg,w\n', "line 3: the row that starts there is not valid CSV"),
        ('path,identity\na.jpg,"x\nb.jpg,y\n"\nc.jpg,z\n', "line 4: identity contains a line break"),
        ('path,identity\n"a\nb.jpg",y\n', "line 3: path contains a line break"),
        ('path,identity\na.jpg,"x"y\n', "line 2: the row that starts there is not valid CSV"),
        ('path,"identity\na.jpg,x\n', "line 1: the row that starts there is not valid CSV"),
        (
            "path,identity\na.jpg," + 140_000 * "x" + "\n",
            "line 2: the row that starts there is not valid CSV (field larger than",
        ),
        ("path,identity\na\0.jpg,x\n", "line 2: path contains a line break or a NUL"),
        ("path,identity\na.jpg,Smith, John\n", "line 2: more values than columns in the first line"),
        ("path,identity,path\na.jpg,x,b.jpg\n", "line 1: column 'path' occurs 2 times"),
        ("path,identity,camera\na.jpg,x,9223372036854775808\n", "line 2: camera is '9223372036854775808'"),
        ("path,identity,camera\na.jpg,x," + 5000 * "9" + "\n", "line 2: camera is '9999"),
        ("path,identity,time\na.jpg,x,0001-01-01T00:00:00+14:00\n", "line 2: time is '0001-01-01"),
        ("path,identity,time\na.jpg,x,9999-12-31T23:59:59-14:00\n", "line 2: time is '9999-12-31"),
        ("path,identity\na.jpg,x\nd/../a.jpg,x\n", "line 3: d/../a.jpg is already listed in line 2"),
        ("path,identity\na.jpg,x\n./b//../a.jpg,x\n", "line 3: ./b//../a.jpg is already listed in line 2"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, told):
    with pytest.raises(DataError) as error:
        parse(written(tmp_path, text))
    assert told in str(error.value)


def test_options_and_encodings_are_checked(tmp_path):
    with pytest.raises(DataError, match="not found"):
        parse(tmp_path)
    with pytest.raises(DataError, match="not UTF-8"):
        parse(written(tmp_path, "path,identity\na.jpg,Zoë\n", "latin-1"))
    folder = written(tmp_path, rows())
    with pytest.raises(DataError, match="sum to 1"):
        parse(folder, fractions=(0.5, 0.1, 0.1))
    for seed in (-1, "one"):
        with pytest.raises(DataError, match=f"seed is {seed!r}, expected a whole number"):
            parse(written(tmp_path, "path,identity\na.jpg,x\nb.jpg,x\nc.jpg,y\nd.jpg,y\n"), seed=seed)
    folder = written(tmp_path, rows())
    with pytest.raises(DataError, match="pseudo_infrared is 'yes'"):
        parse(folder, pseudo_infrared="yes")
    with pytest.raises(DataError, match="leave_out is 'all', expected one of"):
        parse(folder, leave_out="all")
    assert parse(folder, leave_out="same camera").protocol == "cross-camera"
    mixed = written(tmp_path, "path,identity,modality\na.jpg,x,ir\nb.jpg,x,visible\n")
    with pytest.raises(DataError, match=r"a\.jpg is infrared"):
        parse(mixed, pseudo_infrared="query")


def test_a_picture_is_listed_once_however_it_is_spelled(tmp_path):
    """Absolute, and by a folder's other name; where a link leads elsewhere, what is above it is another folder."""
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "deep").symlink_to("real/below")
    for other in (str(tmp_path / "real" / "a.jpg"), "link/a.jpg", "deep/../a.jpg"):
        with pytest.raises(DataError, match=r"line 3: .*a\.jpg is already listed in line 2"):
            read_rows(written(tmp_path, f"path,identity\nreal/a.jpg,x\n{other},x\n") / "manifest.csv")
    found = read_rows(written(tmp_path, "path,identity\na.jpg,x\ndeep/../a.jpg,x\n") / "manifest.csv")
    assert len(found) == 2


def test_what_rows_may_hold(tmp_path):
    text = 'path,identity,camera,notes\na.jpg,"Smith, ""Jo""",0009223372036854775807,"two\nlines"\n\nb.jpg,x,,\n'
    (first, _), (second, _) = read_rows(written(tmp_path, text) / "manifest.csv")
    assert (first.identity, first.camera) == ('Smith, "Jo"', 2**63 - 1)
    assert (second.path, second.camera) == (tmp_path / "b.jpg", 0)


def test_junk_is_left_out_and_distractors_only_answer(tmp_path):
    """By the split of a row, or by the identity that an option names; where no split is given, the others are divided."""
    marked = "path,identity,split\n" + "".join(f"{i}/{k}.jpg,animal {i},\n" for i in range(10) for k in range(4))
    marked += "".join(f"junk/{k}.jpg,,junk\n" for k in range(3)) + "".join(
        f"other/{k}.jpg,,distractor\n" for k in range(2)
    )
    split = parse(written(tmp_path, marked))
    assert len(identities(split.train)) == 6
    assert identities(split.query).isdisjoint({"junk", "distractor"})
    assert sum(record.identity == "distractor" for record in split.gallery) == 2
    assert not any("junk" in record.path.parts for record in (*split.train, *split.validation, *split.test))
    assert any(note.startswith("3 junk images") for note in split.notes)
    named = rows() + "".join(f"x/{k}.jpg,-1\ny/{k}.jpg,0000\n" for k in range(2))
    plain = parse(written(tmp_path, named))
    assert any("identity '-1' has 2 images and is taken as one individual" in note for note in plain.notes)
    split = parse(written(tmp_path, named), junk=[-1], distractors="0000")
    assert sum(record.identity == "0000" for record in split.gallery) == 2
    assert {"-1", "0000"}.isdisjoint(identities((*split.train, *split.validation, *split.query)))
    assert not any("taken as one individual" in note for note in split.notes)
    both = "path,identity,split\na.jpg,x,\nb.jpg,x,distractor\n"
    with pytest.raises(DataError, match="identity 'x' is a distractor in some rows and not in others"):
        parse(written(tmp_path, both))


def test_distractors_are_of_the_kind_that_answers(tmp_path):
    text = "path,identity,split,modality\n" + "".join(
        f"{i}{m}.jpg,{i},{s},{m}\n" for i, s in ((1, "train"), (2, "test")) for m in ("visible", "ir")
    )
    split = parse(written(tmp_path, text + "d1.jpg,,distractor,visible\nd2.jpg,,distractor,ir\n"))
    assert [record.path.name for record in split.gallery if record.identity == "distractor"] == ["d1.jpg"]
    assert split.protocol == "cross-modal"
    assert any("1 distractors are left out" in note for note in split.notes)


def test_one_name_in_two_unicode_forms_is_one_identity(tmp_path):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"{decomposed}.jpg").write_bytes(b"x")
    notes = Notes()
    text = f"path,identity\na\\{composed}.jpg,{composed}\nb.jpg,{decomposed}\n"
    (one, _), (other, _) = read_rows(written(tmp_path, text) / "manifest.csv", notes=notes)
    assert one.identity == other.identity == composed
    assert one.path == tmp_path / "a" / f"{decomposed}.jpg"
    assert [line.split(" (")[0] for line in notes.lines()] == [
        "1 paths are written with backslashes, read as slashes",
        "1 values of identity are in another Unicode form than NFC, and are read as NFC",
    ]


def test_boxes_are_parts_of_pictures(tmp_path):
    text = 'path,identity,box\na.jpg,x,"1,2,10,20"\na.jpg,y,"[1.5, 2, 9.75, 20]"\na.jpg,z,\n'
    found = [record.box for record, _ in read_rows(written(tmp_path, text) / "manifest.csv")]
    assert found == [(1, 2, 11, 22), (1, 2, 12, 22), None]
    for box in ("1,2,3", "-1,2,3,4", "1,2,0,4", "a,b,c,d", "nan,0,1,1"):
        with pytest.raises(DataError, match=r"line 2: box is '.*', expected x,y,width,height"):
            read_rows(written(tmp_path, f'path,identity,box\na.jpg,x,"{box}"\n') / "manifest.csv")
    with pytest.raises(DataError, match=r"line 3: a\.jpg is already listed in line 2"):
        read_rows(written(tmp_path, 'path,identity,box\na.jpg,x,"1,2,3,4"\na.jpg,y,"1 2 3 4"\n') / "manifest.csv")


def test_paths_that_leave_the_folder(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    climbing, absolute = "path,identity\n../a.jpg,x\n", f"path,identity\n{tmp_path}/a.jpg,x\n"
    with pytest.raises(DataError, match=r"line 2: \.\./a\.jpg leads out .*outside=allow"):
        read_rows(written(folder, climbing) / "manifest.csv")
    assert len(read_rows(written(folder, climbing) / "manifest.csv", outside="allow")) == 1
    assert len(read_rows(written(folder, absolute) / "manifest.csv")) == 1
    with pytest.raises(DataError, match="leads out"):
        read_rows(written(folder, absolute) / "manifest.csv", outside="refuse")
    with pytest.raises(DataError, match="outside is 'all'"):
        parse(written(folder, absolute), outside="all")


def test_columns_that_are_not_read_are_named(tmp_path):
    text = rows(header="path,identity,camra,view,colour").replace(".jpg", ".jpg").replace("\n", ",,,\n")
    text = text.replace("colour,,,", "colour")
    notes = parse(written(tmp_path, text)).notes
    assert notes[:3] == (
        "column 'camra' is not read. Did you mean 'camera'? Rename it.",
        "column 'view' is not read. If it is the camera, rename it 'camera'.",
        "column 'colour' is not read.",
    )
    for column, known in (("camera_id", "camera"), ("modalty", "modality"), ("Time", "time"), ("bbox", "box")):
        assert nearest_column(column)[0] == known
    with pytest.raises(DataError, match=r"'identity' is missing\. Is it 'name'"):
        parse(written(tmp_path, "path,name\na.jpg,x\n"))


def test_why_there_is_nothing_to_test(tmp_path):
    for text, cause in (
        ("".join(f"{k}.jpg,x\n" for k in range(5)), "All 5 images show 1 identity"),
        ("".join(f"{k}.jpg,x{k}\n" for k in range(5)), "Each of the 5 identities has one image"),
    ):
        with pytest.raises(DataError, match=f" is empty.*{cause}"):
            parse(written(tmp_path, "path,identity\n" + text))
    with pytest.raises(DataError, match=r"camera is 'north', .* for example 3"):
        parse(written(tmp_path, "path,identity,camera\na.jpg,x,north\n"))


def test_the_protocol_is_named_after_what_is_compared(tmp_path):
    assert parse(written(tmp_path, rows())).protocol == "single-modality"
    assert parse(written(tmp_path, rows()), pseudo_infrared="query").protocol == "cross-modal"


def test_a_test_that_is_hardly_of_two_modalities_is_said(tmp_path):
    lines = [f"{i}/{k}.jpg,animal {i},visible,{'train' if i < 4 else 'test'}" for i in range(8) for k in range(10)]
    for grey, said in ((1, "1 is infrared"), (2, "2 are infrared"), (4, None)):
        mixed = [*lines[:-grey], *(line.replace("visible", "infrared") for line in lines[-grey:])]
        split = parse(written(tmp_path, "\n".join(["path,identity,modality,split", *mixed, ""])))
        assert split.protocol == "cross-modal"
        noted = [note for note in split.notes if "scored across modalities" in note]
        assert noted == [] if said is None else f"of the 40 test images, {said}" in noted[0]
