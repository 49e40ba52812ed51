import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.readers.manifest import parse, read_rows
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
        ("path,identity\na.jpg,x\na.jpg,x\n", "line 3: a.jpg is listed in line 2"),
        ("path,identity,camera\na.jpg,x,north\n", "line 2: camera is 'north'"),
        ("path,identity,modality\na.jpg,x,radar\n", "line 2: modality is 'radar'"),
        ("path,identity,split\na.jpg,x,training\n", "line 2: split is 'training'"),
        ("path,identity,split\na.jpg,x,train\nb.jpg,x,\n", "has no split"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,x,test,ir\n", "identity 'x' is in train and in test"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,y,query,ir\n", "nothing in gallery"),
        ("path,identity,split,modality\na.jpg,x,train,ir\nb.jpg,y,gallery,ir\n", "nothing in query"),
        ("path,identity,split\na.jpg,x,train\n", "nothing in query"),
        ('path,identity\na.jpg,x\nb.jpg,"y\nc.jpg,z\nd.jpg,w\n', "line 3: the row that begins there is no CSV"),
        ('path,identity\na.jpg,"x\nb.jpg,y\n"\nc.jpg,z\n', "line 4: identity holds a line break"),
        ('path,identity\n"a\nb.jpg",y\n', "line 3: path holds a line break"),
        ('path,identity\na.jpg,"x"y\n', "line 2: the row that begins there is no CSV"),
        ('path,"identity\na.jpg,x\n', "line 1: the row that begins there is no CSV"),
        (
            "path,identity\na.jpg," + 140_000 * "x" + "\n",
            "line 2: the row that begins there is no CSV (field larger than",
        ),
        ("path,identity\na\0.jpg,x\n", "line 2: path holds a line break or a NUL"),
        ("path,identity\na.jpg,Smith, John\n", "line 2: more values than the first line has columns"),
        ("path,identity,path\na.jpg,x,b.jpg\n", "line 1: column 'path' is there 2 times"),
        ("path,identity,camera\na.jpg,x,9223372036854775808\n", "line 2: camera is '9223372036854775808'"),
        ("path,identity,camera\na.jpg,x," + 5000 * "9" + "\n", "line 2: camera is '9999"),
        ("path,identity,time\na.jpg,x,0001-01-01T00:00:00+14:00\n", "line 2: time is '0001-01-01"),
        ("path,identity,time\na.jpg,x,9999-12-31T23:59:59-14:00\n", "line 2: time is '9999-12-31"),
        ("path,identity\na.jpg,x\nd/../a.jpg,x\n", "line 3: d/../a.jpg is listed in line 2"),
        ("path,identity\na.jpg,x\n./b//../a.jpg,x\n", "line 3: ./b//../a.jpg is listed in line 2"),
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
        with pytest.raises(DataError, match=r"line 3: .*a\.jpg is listed in line 2 already"):
            read_rows(written(tmp_path, f"path,identity\nreal/a.jpg,x\n{other},x\n") / "manifest.csv")
    found = read_rows(written(tmp_path, "path,identity\na.jpg,x\ndeep/../a.jpg,x\n") / "manifest.csv")
    assert len(found) == 2


def test_what_rows_may_hold(tmp_path):
    text = 'path,identity,camera,notes\na.jpg,"Smith, ""Jo""",0009223372036854775807,"two\nlines"\n\nb.jpg,x,,\n'
    (first, _), (second, _) = read_rows(written(tmp_path, text) / "manifest.csv")
    assert (first.identity, first.camera) == ('Smith, "Jo"', 2**63 - 1)
    assert (second.path, second.camera) == (tmp_path / "b.jpg", 0)
