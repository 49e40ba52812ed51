"""What is to be embedded, in a fixed order, with what is known of it."""

import os

import numpy as np
import pytest
from PIL import Image

from crossreid.data.catalog import load
from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.synthetic import synthesise
from crossreid.search.sources import PARTS, part_of, source_records


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("sources")
    synthesise(place / "regdb", "regdb", 4, 0, images_per_camera=1, size=(32, 16), workers=1)
    picture = Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8))
    for name in ("b.PNG", "a.jpg", "deep/er/c.webp", ".hidden.jpg", ".cache/d.jpg", "a/z.jpg"):
        (place / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(place / "images" / name)
    (place / "images" / "notes.txt").write_text("no image")
    return place


def test_a_folder_is_its_images_by_path(place):
    names = ["a.jpg", "a/z.jpg", "b.PNG", "deep/er/c.webp"]
    assert source_records(str(place / "images")) == [Record(place / "images" / name, "") for name in names]
    found = source_records(str(place / "images"), modality="infrared", camera=4)
    assert {(record.modality, record.camera) for record in found} == {(INFRARED, 4)}


def test_a_manifest_is_its_rows_in_its_order_and_needs_no_identities(place, tmp_path):
    rows = "path,camera,modality,time\nz.jpg,2,ir,2026-11-21T08:00:00+01:00\na.jpg,,,\n"
    (tmp_path / "manifest.csv").write_text(rows)
    expected = [
        Record(tmp_path / "z.jpg", "", 2, INFRARED, time=1795244400.0),  # 07:00 UTC
        Record(tmp_path / "a.jpg", "", 0, VISIBLE),
    ]
    assert source_records(str(tmp_path)) == expected
    assert source_records(str(tmp_path / "manifest.csv")) == expected
    (tmp_path / "manifest.csv").write_text(rows.replace("08:00:00+01:00", "8 o'clock"))
    with pytest.raises(DataError, match=r"line 2: time is .*expected ISO 8601"):
        source_records(str(tmp_path))


def test_a_data_set_is_each_of_its_images_once(place):
    split = load("regdb", place / "regdb", trial=2)
    source = f"regdb:{place / 'regdb'}"
    for part in PARTS:
        if part == "validation":
            continue
        found = source_records(source, part=part, options={"trial": 2})
        assert len(found) == len(set(found))
        expected = {"all": {*split.train, *split.query, *split.gallery}, "test": {*split.query, *split.gallery}}
        assert set(found) == (expected[part] if part in expected else set(getattr(split, part)))
    with pytest.raises(DataError, match="part 'validation' is empty"):
        part_of(split, "validation")


@pytest.mark.parametrize(
    ("source", "given", "told"),
    [
        ("nowhere", {}, "nowhere not found. Expected a folder of images, a manifest, or NAME:ROOT"),
        ("regdp:somewhere", {}, "data set 'regdp' is unknown. Did you mean 'regdb'"),
        ("regdb:nowhere", {}, "root nowhere not found"),
        ("regdb:regdb", {"modality": "visible"}, "is a data set, which says each image's modality itself"),
        ("regdb:regdb", {"part": "tests"}, "part 'tests': expected one of all, train"),
        ("regdb:regdb", {"options": {"trail": 1}}, "option 'trail' is unknown"),
        ("images", {"part": "test"}, "--part and --option are for a data set"),
        ("images", {"modality": "thermal"}, "modality 'thermal': expected visible or infrared"),
        ("images/notes.txt", {}, "column 'path' is missing"),
        ("images/a.jpg", {}, r"expected a folder of images, a manifest \(.csv\)"),
        ("empty", {}, "empty holds no image. Expected files that end in .jpg"),
        ("listed", {"camera": 0}, "is a manifest, which says each image's camera itself"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(source, given, told, place, monkeypatch):
    monkeypatch.chdir(place)
    os.makedirs("empty", exist_ok=True)
    os.makedirs("listed", exist_ok=True)
    (place / "listed" / "manifest.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match=told):
        source_records(source, **given)
