"""Marks of the page to a manifest: what is joined is one identity, and what contradicts itself is told and not written."""

import csv
import hashlib
import shutil
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from typer.testing import CliRunner

from crossreid.cli.app import app, main
from crossreid.data.readers.manifest import parse
from crossreid.data.readers.manifest_rows import read_rows
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.galleries.marks import FIELDS, read_marks, write_manifest


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Entries' images g/0.png ... and queries' images q/... of it, all different."""
    folder = tmp_path_factory.mktemp("marks")
    names = [f"g/{i}.png" for i in range(8)] + [f"q/deep/{i}.png" for i in range(6)] + ["q/=1+1.png"]
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)).save(path)
    return folder


def digest_of(root, query):
    """Of the file below q/ that is so named, or of none."""
    paths = [path for path in (root / "q").rglob("*.png") if path.name == query.removeprefix("'")]
    return hashlib.sha256(paths[0].read_bytes() if paths else query.encode()).hexdigest()


def row(
    query, mark, match, identity="", camera="2", time="", query_modality="visible", modality="infrared", asking=None
):
    """A line as the page writes it. `asking`: path, identity, camera and time of an entry that asks; else `written` adds the
    SHA-256 of the query's file."""
    return [
        query, None if asking is None else "", query_modality, *(asking or [""] * 4), mark, "0.5", "1", f"entry {match}",
        f"g/{match}.png", identity, camera, modality, time, "f",
    ]  # fmt: skip


def written(path, rows, root):
    rows = [[digest_of(root, row[0]) if cell is None else cell for cell in row] for row in rows]
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([FIELDS, *rows])
    return path


def manifest(folder, root, rows, **options):
    """What is written for some rows: {file name: (identity, camera, modality, time)}, and the counts."""
    out = folder / "manifest.csv"
    out.unlink(missing_ok=True)
    marks = read_marks(written(folder / "marks.csv", rows, root))
    told = write_manifest(marks, out, images=[root], **{"queries": root / "q", **options})
    read = [record for record, _ in read_rows(out)]
    assert all(record.path.is_file() for record in read)
    names = {record.path.resolve().relative_to(root).as_posix(): record for record in read}
    assert len(names) == len(read) == told.images
    return {name: (r.identity, r.camera, r.modality, r.time) for name, r in names.items()}, told


def test_right_marks_make_one_identity_of_all_they_join(root, tmp_path):
    found, told = manifest(tmp_path, root, [
        row("0.png", "right", 1),
        row("1.png", "right", 2, "p7", time="2026-11-21T08:30:00Z"),
        row("2.png", "right", 2, "p7", time="2026-11-21T08:30:00Z"),
        row("3.png", "right", 3, "p7", camera="0", modality="visible", query_modality="infrared"),
        row("4.png", "right", 4),
        row("id:entry 4", "right", 5, query_modality="infrared", asking=["g/4.png", "", "2", ""]),
        row("0.png", "wrong", 2, "p7"),
        row("5.png", "wrong", 6),
        row("5.png", "wrong", "gone"),
    ])  # fmt: skip
    at = 1795249800.0  # date -u -d 2026-11-21T08:30:00Z +%s
    assert found == {
        "q/deep/0.png": ("marked-0001", 0, VISIBLE, None), "g/1.png": ("marked-0001", 2, INFRARED, None),
        "q/deep/1.png": ("p7", 0, VISIBLE, None), "g/2.png": ("p7", 2, INFRARED, at),
        "q/deep/2.png": ("p7", 0, VISIBLE, None), "q/deep/3.png": ("p7", 0, INFRARED, None),
        "g/3.png": ("p7", 0, VISIBLE, None), "q/deep/4.png": ("marked-0002", 0, VISIBLE, None),
        "g/4.png": ("marked-0002", 2, INFRARED, None), "g/5.png": ("marked-0002", 2, INFRARED, None),
    }  # fmt: skip
    assert (told.images, told.identities, told.named, told.right, told.wrong) == (10, 3, 2, 6, 3)


def test_a_made_name_is_nobodys(root, tmp_path):
    found, _ = manifest(tmp_path, root, [row("0.png", "right", 1), row("1.png", "right", 2, "marked-0001")])
    assert found["g/1.png"][0] == "marked-0002"
    assert found["q/deep/1.png"][0] == "marked-0001"


@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.booleans()), min_size=1, max_size=20),
    known=st.lists(st.sampled_from(["", "", "a", "b"]), min_size=8, max_size=8),
)
def test_identities_are_connected_components_or_refused(root, tmp_path_factory, pairs, known):
    folder = tmp_path_factory.mktemp("drawn")
    rows = [row(f"{q}.png", "right" if right else "wrong", g, known[g]) for q, g, right in pairs]
    # Nodes: queries 0-5, entries 6-13, identities 14 and 15.
    names = {"a": 14, "b": 15}
    edges = [(q, 6 + g) for q, g, right in pairs if right]
    edges += [(6 + g, names[known[g]]) for _, g, _ in pairs if known[g]]
    graph = coo_matrix((np.ones(len(edges)), tuple(np.array(edges).reshape(-1, 2).T)), shape=(16, 16))
    _, part = connected_components(graph, directed=False)
    joined = {(f"q/deep/{q}.png", q) for q, _, right in pairs if right} | {
        (f"g/{g}.png", 6 + g) for _, g, right in pairs if right
    }
    contradicted = part[14] == part[15] or any(part[q] == part[6 + g] for q, g, right in pairs if not right)
    if contradicted or not joined:
        with pytest.raises(DataError, match=r"marked wrong, but|join the identities|no match is marked as right"):
            manifest(folder, root, rows)
        assert not (folder / "manifest.csv").exists()
        assert [path.name for path in folder.iterdir()] == ["marks.csv"]
        return
    found, told = manifest(folder, root, rows)
    assert set(found) == {name for name, _ in joined}
    members = defaultdict(set)
    for name, node in joined:
        members[part[node]].add(found[name][0])
    assert all(len(identities) == 1 for identities in members.values())
    assert len({next(iter(identities)) for identities in members.values()}) == len(members) == told.identities
    for name, node in names.items():
        assert members.get(part[node], {name}) == {name}


def test_a_contradiction_is_told_with_the_lines_that_make_it(root, tmp_path):
    chain = [row("0.png", "right", 1), row("1.png", "right", 1), row("1.png", "right", 2)]
    with pytest.raises(DataError) as told:
        manifest(tmp_path, root, [*chain, row("0.png", "wrong", 2)])
    assert "line 5: '0.png' and 'entry 2' are marked wrong" in str(told.value)
    assert "0.png = 1.png (line 2), 1.png = 1.png (line 3), 1.png = 2.png (line 4)" in str(told.value)
    with pytest.raises(
        DataError, match=r"join the identities 'a' and 'b': 1.png = 1.png \(line 2\), 1.png = 2.png \(line 3\)"
    ):
        manifest(tmp_path, root, [row("1.png", "right", 1, "a"), row("1.png", "right", 2, "b")])
    with pytest.raises(DataError, match=r"line 3: '0.png' and 'entry 2' are marked wrong, but right marks join them"):
        manifest(tmp_path, root, [row("0.png", "right", 1, "a"), row("0.png", "wrong", 2, "a")])


def test_texts_that_were_guarded_against_spreadsheets_come_back(root, tmp_path):
    found, _ = manifest(tmp_path, root, [
        row("'=1+1.png", "right", 1, "'-7"), row("0.png", "right", 2, "''@x"), row("1.png", "right", 3, "'tis"),
    ])  # fmt: skip
    assert {found[f"g/{i}.png"][0] for i in (1, 2, 3)} == {"-7", "'@x", "'tis"}
    assert found["q/=1+1.png"][0] == "-7"


def test_an_image_that_is_query_and_entry_is_there_once(root, tmp_path):
    rows = [row("1.png", "right", 2, modality="visible"), row("2.png", "right", 1, "p1", modality="visible")]
    for line, at in zip(rows, (1, 2), strict=True):
        line[1] = hashlib.sha256((root / "g" / f"{at}.png").read_bytes()).hexdigest()
    marks = read_marks(written(tmp_path / "marks.csv", rows, root))
    told = write_manifest(marks, tmp_path / "m.csv", images=[root], queries=root / "g")
    assert told.images == 2
    assert [(r.path.name, r.identity, r.camera) for r, _ in read_rows(tmp_path / "m.csv")] == [
        ("1.png", "p1", 2), ("2.png", "p1", 2),
    ]  # fmt: skip


def test_what_is_known_of_an_entry_that_asked_counts(root, tmp_path):
    """Its identity, too: a mark that joins it to another one's is no mark to train on."""
    asks = {"query_modality": "infrared", "asking": ["g/3.png", "p3", "4", "2026-11-21T08:30:00Z"]}
    found, _ = manifest(tmp_path, root, [row("id:any name", "right", 1, **asks)])
    assert found == {"g/3.png": ("p3", 4, INFRARED, 1795249800.0), "g/1.png": ("p3", 2, INFRARED, None)}
    with pytest.raises(DataError, match="join the identities 'p3' and 'p1'"):
        manifest(tmp_path, root, [row("id:any name", "right", 1, "p1", **asks)])
    with pytest.raises(DataError, match=r"line 2: '0.png' and 'entry 1' are marked wrong, but right marks join them"):
        manifest(tmp_path, root, [row("0.png", "wrong", 1, "p3"), row("0.png", "right", 2, "p3")])


def test_a_query_is_the_file_that_was_sent_whatever_it_is_called(root, tmp_path):
    queries = tmp_path / "queries"
    for name, source in (("a/1.png", "0.png"), ("b/1.png", "1.png"), ("c/other.png", "2.png"), ("2.png", "3.png")):
        (queries / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "q" / "deep" / source, queries / name)
    rows = [row("1.png", "right", 1), row("2.png", "right", 2)]
    marks = read_marks(written(tmp_path / "marks.csv", rows, root))
    write_manifest(marks, tmp_path / "m.csv", images=[root], queries=queries)
    read = {record.path.resolve(): record.identity for record, _ in read_rows(tmp_path / "m.csv")}
    assert set(read) == {queries / "b/1.png", queries / "c/other.png", root / "g/1.png", root / "g/2.png"}
    assert read[queries / "c/other.png"] == read[root / "g/2.png"]
    (queries / "c/other.png").unlink()
    (tmp_path / "m.csv").unlink()
    with pytest.raises(DataError, match=r"not found: the query '2.png' \(.*2.png is another image\)\."):
        write_manifest(marks, tmp_path / "m.csv", images=[root], queries=queries)


def test_what_is_missing_is_left_out_where_that_is_asked_for_and_joins_all_the_same(root, tmp_path):
    rows = [
        row("pasted.png", "right", 1),
        row("pasted.png", "right", 2),
        row("0.png", "right", "no"),
        row("0.png", "right", 3),
    ]
    rows += [row("none.png", "right", "neither")]
    found, told = manifest(tmp_path, root, rows, skip_missing=True)
    assert {name: facts[0] for name, facts in found.items()} == {
        "g/1.png": "marked-0001", "g/2.png": "marked-0001", "q/deep/0.png": "marked-0002", "g/3.png": "marked-0002",
    }  # fmt: skip
    assert (told.images, told.identities, told.named, told.right) == (4, 2, 2, 5)
    assert told.missing == (
        "the query 'pasted.png'", "the entry 'entry no' (g/no.png)", "the query 'none.png'",
        "the entry 'entry neither' (g/neither.png)",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"not found: the query 'none\.png'"):
        manifest(tmp_path, root, rows[-1:], skip_missing=True)
    with pytest.raises(DataError, match="are marked wrong, but"):
        manifest(tmp_path, root, [*rows[:2], row("pasted.png", "wrong", 2)], skip_missing=True)


def test_what_is_missing_or_broken_is_told_and_nothing_is_written(root, tmp_path, capsys):
    good = row("0.png", "right", 1)
    at = FIELDS.index("path")
    part = [*good[:at], "g/1.png#xywh=0,0,2,2", *good[at + 1 :]]
    outside = [*good[:at], "../../etc/hostname", *good[at + 1 :]]
    no_print = [good[0], "", *good[2:]]
    for rows, queries, said in (
        ([row("none.png", "right", 1), row("0.png", "right", "no")], root / "q",
         "not found: the query 'none.png', the entry 'entry no' (g/no.png)."),
        ([part], root / "q", "not found: the entry 'entry 1' (g/1.png#xywh=0,0,2,2) as a separate image"),
        ([outside], root / "q", "not found: the entry 'entry 1' (../../etc/hostname)"),
        ([row("id:nobody", "right", 1, asking=[""] * 4)], root / "q", "not found: the entry 'nobody'."),
        ([no_print], root / "q", "line 2: expected the SHA-256 of the query's file"),
        ([[good[0], "abc", *good[2:]]], root / "q", "line 2: expected the SHA-256 of the query's file"),
        ([row("id:x", "right", 1, asking=["g/2.png", "", "-2", ""])], root / "q", "line 2: query_camera is '-2'"),
        ([good], tmp_path / "nowhere", "expected a folder"),
        ([row("0.png", "wrong", 1)], root / "q", "no match is marked as right"),
        ([], root / "q", "no match is marked as right"),
        ([row("0.png", "maybe", 1)], root / "q", "line 2: mark is 'maybe'"),
        ([row("0.png", "right", 1, camera="x")], root / "q", "line 2: camera is 'x'"),
        ([row("0.png", "right", 1, time="noon")], root / "q", "line 2: time 'noon'"),
        ([row("0.png", "right", 1, modality="radar")], root / "q", "line 2: modality 'radar'"),
        ([row("", "right", 1)], root / "q", "line 2: query and id must not be empty"),
        ([good[:-1]], root / "q", "line 2: expected 17 cells"),
        ([good, row("1.png", "right", 1, camera="3")], root / "q", "line 3: camera of"),
    ):  # fmt: skip
        written(tmp_path / "marks.csv", rows, root)
        places = ["--queries", queries, "--images", root, "--out", tmp_path / "m.csv"]
        with pytest.raises(SystemExit) as ended:
            main(["gallery", "marks", str(tmp_path / "marks.csv"), *map(str, places)])
        message = " ".join(capsys.readouterr().err.split())
        assert ended.value.code == 2
        assert said in message, message
        assert "Traceback" not in message
        assert [path.name for path in tmp_path.iterdir()] == ["marks.csv"]
    (tmp_path / "marks.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="line 1: column 'query' is missing"):
        read_marks(tmp_path / "marks.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_marks(tmp_path / "none.csv")


def test_the_command_writes_what_is_trained_on(root, tmp_path):
    rows = [row(f"{i}.png", "right", i) for i in range(6)]
    places = ["--queries", root / "q", "--images", root, "--out", tmp_path / "deep" / "m.csv"]
    marks = written(tmp_path / "marks.csv", rows, root)
    result = CliRunner().invoke(app, ["gallery", "marks", *map(str, [marks, *places])])
    assert result.exit_code == 0, result.output
    assert "12 images of 6 identities (6 named here), of 6 right marks; 0 wrong ones agree" in " ".join(
        result.output.split()
    )
    split = parse(tmp_path / "deep" / "m.csv")
    assert len({record.identity for record in split.train}) >= 3
    assert {record.modality for record in split.train} == {VISIBLE, INFRARED}
    before = (tmp_path / "deep" / "m.csv").read_bytes()
    more = written(tmp_path / "more.csv", [*rows, row("gone.png", "right", 7)], root)
    result = CliRunner().invoke(
        app, ["gallery", "marks", *map(str, [more, *places[:-1], tmp_path / "n.csv", "--skip-missing"])]
    )
    assert "left out, not found: the query 'gone.png'" in result.output
    assert len(read_rows(tmp_path / "n.csv")) == 13
    with pytest.raises(DataError, match="already exists"):
        write_manifest(
            read_marks(tmp_path / "marks.csv"), tmp_path / "deep" / "m.csv", images=[root], queries=root / "q"
        )
    assert (tmp_path / "deep" / "m.csv").read_bytes() == before


@pytest.fixture
def known(tmp_path):
    """A manifest of ten identities, three images each, with the parts that training finds them in."""
    folder = tmp_path / "known"
    (folder / "a").mkdir(parents=True)
    lines = []
    for seed, (who, number) in enumerate((who, number) for who in range(10) for number in range(3)):
        path = f"a/{who}-{number}.png"
        Image.fromarray(np.random.default_rng(100 + seed).integers(0, 256, (8, 4, 3), np.uint8)).save(folder / path)
        name = "marked-0001" if who == 0 else f"known-{who}"
        lines.append(f"{path},{name},{number + 1},{'infrared' if number == 2 else 'visible'}\n")
    (folder / "manifest.csv").write_text("path,identity,camera,modality\n" + "".join(lines))
    return folder / "manifest.csv"


def parts(split):
    """Who is in which part, by the files' names."""
    named = ("train", "validation", "query", "gallery")
    return {name: {(r.path.name, r.identity, r.camera, r.modality) for r in getattr(split, name)} for name in named}


def test_marks_are_added_to_what_a_manifest_trains_on_and_its_test_stays(root, known, tmp_path):
    marks = written(tmp_path / "marks.csv", [row("0.png", "right", 1), row("1.png", "wrong", 2)], root)
    out = known.parent / "more.csv"
    result = CliRunner().invoke(app, [
        "gallery", "marks", str(marks), "--queries", str(root / "q"), "--images", str(root), "--with", str(known),
        "--out", str(out),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    said = "2 images of 1 identities (1 named here), of 1 right marks; 1 wrong ones agree; beside 30 images of"
    assert said in " ".join(result.output.split())
    before, after = parts(parse(known)), parts(parse(out))
    assert {len(before[name]) for name in before} == {18, 3, 6}
    new = {("0.png", "marked-0002", 0, VISIBLE), ("1.png", "marked-0002", 2, INFRARED)}
    assert after == before | {"train": before["train"] | new}


def test_marked_images_of_the_manifest_are_there_once_with_their_identity(root, known, tmp_path):
    trained = sorted(parse(known).train, key=lambda record: record.path)[0]
    shutil.copy(trained.path, tmp_path / "again.png")
    row_of_it = row("again.png", "right", 1)
    row_of_it[1] = hashlib.sha256(trained.path.read_bytes()).hexdigest()
    marks = read_marks(written(tmp_path / "marks.csv", [row_of_it], root))
    told = write_manifest(marks, tmp_path / "m.csv", images=[root], queries=known.parent, beside=known)
    assert (told.images, told.named, told.beside) == (2, 0, 30)
    rows = [record for record, _ in read_rows(tmp_path / "m.csv")]
    assert len(rows) == 31
    assert sorted(r.path.name for r in rows if r.identity == trained.identity) == sorted(
        ["1.png", *(r.path.name for r in parse(known).train if r.identity == trained.identity)]
    )
    row_of_it[12] = "somebody else"  # the entry's identity
    marks = read_marks(written(tmp_path / "marks.csv", [row_of_it], root))
    with pytest.raises(DataError, match="right marks join the identities"):
        write_manifest(marks, tmp_path / "n.csv", images=[root], queries=known.parent, beside=known)
    assert not (tmp_path / "n.csv").exists()


def test_an_identity_that_a_manifest_tests_on_is_not_trained_on(root, known, tmp_path):
    for part in ("query", "validation"):
        tested = next(iter(getattr(parse(known), part)))
        marks = read_marks(written(tmp_path / "marks.csv", [row("0.png", "right", 1, tested.identity)], root))
        kept = {"query": "test", "validation": "validation"}[part]
        with pytest.raises(DataError, match=f"marked as '{tested.identity}', which .* keeps for {kept}"):
            write_manifest(marks, tmp_path / "m.csv", images=[root], queries=root / "q", beside=known)
        assert not (tmp_path / "m.csv").exists()


def test_an_entry_that_the_gallery_calls_otherwise_than_the_manifest_is_told(root, known, tmp_path):
    trained = next(iter(parse(known).train))
    line = row("0.png", "right", 1, "otherwise")
    line[11] = trained.path.relative_to(known.parent).as_posix()  # the entry's source
    marks = read_marks(written(tmp_path / "marks.csv", [line], root))
    with pytest.raises(DataError, match=f"is 'otherwise' in the gallery and '{trained.identity}' in .*manifest.csv"):
        write_manifest(marks, tmp_path / "m.csv", images=[known.parent], queries=root / "q", beside=known)
    with_box = tmp_path / "boxes.csv"
    with_box.write_text(f'path,identity,box\n{trained.path},a,"0,0,2,2"\n')
    with pytest.raises(DataError, match="names parts of pictures"):
        write_manifest(marks, tmp_path / "m.csv", images=[known.parent], queries=root / "q", beside=with_box)
