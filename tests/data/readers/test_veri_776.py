"""The reader of VeRi-776: on a rendered copy, and on the official lists where they are at hand."""

import re
import shutil
from pathlib import Path

import pytest

from crossreid.data.catalogue import describe, load
from crossreid.data.checking import check, counted
from crossreid.data.readers import veri_776
from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise
from crossreid.data.synthetic.vehicles import vehicle

LISTS = Path(__file__).resolve().parents[4] / "shared" / "protocols" / "VeRi-776"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason="the official lists are not at hand")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("world") / "veri"
    return synthesise(place, "veri-776", 9, 3, images_per_camera=2, size=(32, 32), workers=1)


@pytest.fixture
def copy(world, tmp_path):
    shutil.copytree(world, tmp_path / "copy")
    return tmp_path / "copy"


def identities(records):
    return {record.identity for record in records}


def test_the_rendered_copy(world):
    split = load("veri-776", world)
    assert split.protocol == "veri-776"
    assert len(identities(split.train)) == 7
    assert identities(split.train).isdisjoint(identities(split.gallery))
    assert identities(split.query) == identities(split.gallery) == {"0008", "0009"}
    pairs = [(record.identity, record.camera) for record in split.query]
    assert len(pairs) == len(set(pairs)) == 2 * 6
    assert {(r.identity, r.camera) for r in split.gallery} == set(pairs)
    assert {record.path.parent.name for record in split.query} == {"image_query"}
    assert {record.path.name for record in split.query} < {record.path.name for record in split.gallery}
    for record in split.test:
        assert record.tracklet == f"{record.identity}_{record.camera}"
        assert record.frame == int(record.path.stem.split("_")[2])
    asked = split.query[0].path
    assert asked.read_bytes() == (world / "image_test" / asked.name).read_bytes()
    assert all(len({r.frame for r in split.gallery if r.tracklet == q.tracklet}) == 2 for q in split.query)


def test_attributes_are_those_of_the_factors(world):
    split = load("veri-776", world)
    for record in split.train:
        who = vehicle(3, int(record.identity))
        assert record.attributes == (("colour", who.paint.colour), ("type", who.form.type))
    assert {record.attributes for record in split.test} == {()}
    assert counted(split)["train colours"] == len({vehicle(3, i).paint.colour for i in range(1, 8)})
    assert (world / "list_type.txt").read_text().splitlines()[3] == "4 hatchback"


def test_labels_may_be_absent_strange_or_broken(copy):
    path = copy / "train_label.xml"
    text = path.read_bytes()
    first = re.search(rb'imageName="(.*?)"', text)[1].decode()
    path.write_bytes(re.sub(rb'colorID="\d+"', b'colorID="77"', text, count=1))
    assert [name for name, _ in veri_776.attributes(copy)[first]] == ["type"]
    path.write_bytes("<?xml version='1.0' encoding='gb2312'?><TrainingImages>车辆</TrainingImages>".encode("gb2312"))
    assert veri_776.attributes(copy) == {}
    for broken in (text[:-30], b"\xff\xff" + text, text.replace(b"typeID", b"kindID")):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"train_label\.xml"):
            load("veri-776", copy)
    path.unlink()
    assert {record.attributes for record in load("veri-776", copy).train} == {()}


def test_without_lists_the_folders_are_read(world, copy):
    for listed in copy.glob("name_*.txt"):
        listed.unlink()
    there, here = load("veri-776", world), load("veri-776", copy)
    for part in ("train", "query", "gallery"):
        names = [[record.path.name for record in getattr(split, part)] for split in (there, here)]
        assert names[0] == names[1]
    (copy / "image_train" / "cover.jpg").touch()
    with pytest.raises(DataError, match=r"expected a name IDID_cCCC.*'cover\.jpg'"):
        load("veri-776", copy)
    shutil.rmtree(copy / "image_query")
    with pytest.raises(DataError, match=r"neither `name_query\.txt` nor `image_query/`"):
        veri_776.images(copy, "query")


def test_held_out_identities(world):
    whole, held = load("veri-776", world), load("veri-776", world, validation=2)
    assert len(identities(held.validation)) == 2
    assert identities(held.train) | identities(held.validation) == identities(whole.train)


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_copy_is_fine(world, deep):
    report = check("veri-776", world, deep=deep, workers=1)
    assert report.ok, report.problems
    rows = {what: found for what, _, found in report.rows}
    assert (rows["query images"], rows["gallery images"]) == ("12", "24")
    assert not any("belong to no split" in note for note in report.notes)


def test_troubles_are_found(copy):
    gone = sorted((copy / "image_test").glob("*.jpg"))[0]
    gone.unlink()
    (problem,) = check("veri-776", copy).problems
    assert problem == f"{gone} not found."
    names = (copy / "name_train.txt").read_text()
    leaked = (copy / "name_query.txt").read_text().splitlines()[0]
    shutil.copy(copy / "image_query" / leaked, copy / "image_train" / leaked)
    (copy / "name_train.txt").write_text(names + leaked + "\n")
    assert any(f"in train and in test: {leaked[:4]}" in problem for problem in check("veri-776", copy).problems)
    (copy / "name_train.txt").write_text("0001_c001.jpg\n" + names)
    (problem,) = check("veri-776", copy).problems
    assert re.search(r"name_train\.txt, line 1: expected a name IDID_cCCC_FFFFFFFF_N\.jpg", problem)


def test_counts_are_held_against_the_official_ones(world):
    report = check("veri-776", world, expect="official")
    assert any("train identities: expected 576, found 7" in problem for problem in report.problems)
    assert ("query images", "1,678", "12") in report.rows


@needs_lists
def test_official_lists(tmp_path):
    for part in ("train", "query", "test"):
        (tmp_path / f"name_{part}.txt").symlink_to(LISTS / f"original_veri_{part}_list.txt")
    split = veri_776.parse(tmp_path)
    found = counted(split)
    official = describe("veri-776").official
    assert {what: found[what] for what in official} == official
    assert {record.path.name for record in split.query} < {record.path.name for record in split.gallery}
    assert identities(split.train).isdisjoint(identities(split.gallery))
    assert {record.camera for record in (*split.train, *split.gallery)} == set(range(1, 21))
    assert len({record.tracklet for record in split.query}) == 1677
