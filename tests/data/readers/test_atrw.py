"""The reader of ATRW and boxes in pictures: on a rendered copy, and on the official lists where they are at hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossreid.data.catalogue import describe, load
from crossreid.data.checking import check, counted
from crossreid.data.images import load_image
from crossreid.data.readers import atrw
from crossreid.data.records import DataError, Record
from crossreid.data.synthetic import synthesise

LISTS = Path(__file__).resolve().parents[4] / "shared" / "protocols" / "ATRW"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason="the official lists are not at hand")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("world") / "atrw"
    return synthesise(place, "atrw", 12, 3, images_per_camera=2, size=(48, 48), workers=1)


@pytest.fixture
def copy(world, tmp_path):
    shutil.copytree(world, tmp_path / "copy")
    return tmp_path / "copy"


def identities(records):
    return {record.identity for record in records}


def cameras_of(records):
    return {identity: {r.camera for r in records if r.identity == identity} for identity in identities(records)}


def test_the_rendered_copy(world):
    split = load("atrw", world)
    assert split.protocol == "atrw-plain"
    assert split.query == split.gallery
    assert identities(split.train) == {str(i) for i in range(1, 10)}
    assert identities(split.query) == {"10", "11", "12"}
    assert {record.camera for record in split.train} == {0}
    assert {i: len(seen) for i, seen in cameras_of(split.query).items()} == {"10": 5, "11": 5, "12": 1}
    asked = {entry["entityid"]: entry["query"] for entry in json.loads((world / "gt_test_plain.json").read_text())}
    assert asked == {10: "multi", 11: "multi", 12: "sing"}
    assert len({(record.camera, record.frame) for record in split.query}) == len(split.query)
    assert all(record.path.is_file() and record.box is None for record in (*split.train, *split.query))


def test_wild_boxes_hold_animals(world):
    split = load("atrw", world, ground_truth="wild")
    assert len(split.query) == len(load("atrw", world).query)
    assert len({record.path for record in split.query}) < len(split.query)
    assert cameras_of(split.query) == cameras_of(load("atrw", world).query)
    for record in split.query:
        left, top, right, bottom = record.box
        crop = load_image(record, at_least=(4, 4))
        assert crop.shape == (bottom - top, right - left, 3)
        assert crop.std() > 8
    with pytest.raises(DataError, match=r"'tame', expected one of plain, wild"):
        load("atrw", world, ground_truth="tame")


def test_a_header_is_not_needed(copy):
    path = copy / "reid_list_train.csv"
    before = load("atrw", copy, validation=2)
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    path.write_text("".join(f"{identity},{file}\r\n" for file, identity in rows))
    assert load("atrw", copy, validation=2) == before
    assert len(identities(before.validation)) == 2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("reid_list_train.csv", None, r"`reid_list_train\.csv` not found"),
        ("reid_list_train.csv", "file,Class\n000001.jpg;4\n", r"line 2: expected `file,Class`, found '000001\.jpg;4'"),
        ("reid_list_train.csv", "000001.jpg,4\n", r"line 1: expected `identity,file`"),
        ("gt_test_plain.json", None, r"`gt_test_plain\.json` not found"),
        ("gt_test_plain.json", "[{", r"gt_test_plain\.json is not valid JSON"),
        ("gt_test_plain.json", "{}", r"expected a JSON list"),
        ("gt_test_plain.json", "[]", r"names no image"),
        ("gt_test_plain.json", '[{"imgid": 3, "entityid": 1, "frame": [1, 2]}]', r"3 numbers `frame`"),
        ("gt_test_plain.json", '[{"imgid": "3", "entityid": 1, "frame": [1, 2, 3]}]', r"a number `imgid`"),
    ],
)
def test_what_is_wrong_is_named(copy, name, content, told):
    (copy / name).unlink() if content is None else (copy / name).write_text(content)
    with pytest.raises(DataError, match=told):
        load("atrw", copy)
    (problem,) = check("atrw", copy).problems
    assert name in problem


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("ground_truth", ["plain", "wild"])
def test_a_whole_copy_is_fine(world, deep, ground_truth):
    report = check("atrw", world, deep=deep, workers=1, options={"ground_truth": ground_truth})
    assert report.ok, report.problems
    rows = {what: found for what, _, found in report.rows}
    assert (rows["train identities"], rows["test identities"], rows["test images"]) == ("9", "3", "24")


def test_troubles_are_found(copy):
    gone = sorted((copy / "test").glob("*.jpg"))[0]
    gone.unlink()
    (problem,) = check("atrw", copy).problems
    assert problem == f"{gone} not found."
    with (copy / "reid_list_train.csv").open("a") as stream:
        stream.write("000000.jpg,12\r\n")
    assert any("in train and in test: 12" in problem for problem in check("atrw", copy).problems)
    wild = json.loads((copy / "gt_test_wild.json").read_text())
    wild["1"][0]["bbox"][2] = 5000
    (copy / "gt_test_wild.json").write_text(json.dumps(wild))
    problems = check("atrw", copy, options={"ground_truth": "wild"}).problems
    assert any("0001.jpg" in problem and "right 5000" in problem for problem in problems)


def test_a_box_is_cut_out_of_the_upright_picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    plain, turned, shrunk = tmp_path / "plain.png", tmp_path / "turned.png", tmp_path / "large.jpg"
    Image.fromarray(pixels).save(plain)
    cut = load_image(Record(plain, "1", box=(10, 20, 200, 90)))
    assert np.array_equal(cut, pixels[20:90, 10:200])
    Image.fromarray(pixels).save(shrunk)
    for wanted in (None, (20, 20)):  # a draft would count other pixels than the box
        assert load_image(Record(shrunk, "1", box=(0, 0, 600, 300)), at_least=wanted).shape == (300, 600, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(turned, exif=exif)
    assert load_image(Record(turned, "1", box=(0, 500, 400, 600))).shape == (100, 400, 3)
    as_infrared = load_image(Record(plain, "1", box=(0, 0, 50, 60), pseudo_infrared=True))
    assert as_infrared.shape == (60, 50, 3)
    inside = Record(plain, "1", box=(0, 0, 600, 400))
    assert np.array_equal(load_image(inside), pixels)
    for box in ((-1, 0, 9, 9), (0, 0, 601, 9), (0, 0, 9, 401), (9, 0, 9, 9), (0, 8, 9, 3)):
        with pytest.raises(DataError, match=rf"{plain.name}: the box .* 600 x 400 pixels"):
            load_image(replace(inside, box=box))


@needs_lists
def test_official_lists():
    split = atrw.parse(LISTS)
    found = counted(split)
    official = describe("atrw").official
    assert {what: found[what] for what in official} == official
    assert {f"{record.path.name}" for record in split.query} == {
        name for name in (LISTS / "reid_list_test.csv").read_text().split() if name != "filepaths"
    }
    assert {record.camera for record in split.query} == set(range(1, 83))
    # The official single-camera queries are those of the entities that one camera sees.
    seen = cameras_of(split.query)
    for entry in json.loads((LISTS / "gt_test_plain.json").read_text()):
        assert (entry["query"] == "sing") == (len(seen[str(entry["entityid"])]) == 1)


@needs_lists
def test_official_wild_list():
    plain, wild = (atrw.parse(LISTS, ground_truth=kind) for kind in atrw.GROUND_TRUTHS)
    assert plain.train == wild.train
    assert len({record.path for record in wild.query}) == 1651
    where = [{(r.identity, r.camera, r.frame) for r in split.query} for split in (plain, wild)]
    assert where[0] == where[1]
    assert len(where[0]) == 1764
