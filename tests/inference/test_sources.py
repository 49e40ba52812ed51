"""What is to be embedded, in a fixed order, with what is known of it."""

import os
import shutil
import tempfile

import numpy as np
import pytest
from PIL import Image

from crossreid.data.catalogue import load
from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.synthetic import synthesise
from crossreid.inference.sources import PARTS, part_of, source_records


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
        ("regdb:regdb", {"modality": "visible"}, "is a data set, which states each image's modality itself"),
        ("regdb:regdb", {"part": "tests"}, "part 'tests': expected one of all, train"),
        ("regdb:regdb", {"options": {"trail": 1}}, "option 'trail' is unknown"),
        ("images", {"part": "test"}, "--part and --option are for a data set"),
        ("images", {"modality": "thermal"}, "modality 'thermal': expected visible or infrared"),
        ("images/notes.txt", {}, "column 'path' is missing"),
        ("images/a.jpg", {}, r"expected a folder of images, a manifest \(.csv\)"),
        ("empty", {}, "empty holds no images. Expected files ending in .jpg"),
        ("listed", {"camera": 0}, "is a manifest, which states each image's camera itself"),
        (
            "images",
            {"camera": 2**63},
            "camera 9223372036854775808: expected a whole number from 0 to 9223372036854775807",
        ),
        ("", {}, "SOURCE is empty"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(source, given, told, place, monkeypatch):
    monkeypatch.chdir(place)
    os.makedirs("empty", exist_ok=True)
    os.makedirs("listed", exist_ok=True)
    (place / "listed" / "manifest.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match=told):
        source_records(source, **given)


def test_links_to_folders_are_followed_and_each_folder_is_once(tmp_path):
    """Real folders by their own path, others by the first link; circles and what is above end."""
    picture = Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8))
    for name in ("in/z/own.jpg", "in/a.jpg", "elsewhere/far.jpg", "elsewhere/deep/er.jpg", "third/t.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / name)
    for link, target in {
        "in/b": "z", "in/c": "../elsewhere", "in/d": "../elsewhere/deep", "in/z/circle": "..", "elsewhere/deep/third": "../../third",
        "in/file.jpg": "../third/t.jpg", "in/gone.jpg": "nowhere.jpg", ".hidden": "in/z",
    }.items():  # fmt: skip
        (tmp_path / link).symlink_to(target)
    expected = ["a.jpg", "c/deep/er.jpg", "c/deep/third/t.jpg", "c/far.jpg", "file.jpg", "gone.jpg", "z/own.jpg"]
    found = [record.path.relative_to(tmp_path / "in").as_posix() for record in source_records(str(tmp_path / "in"))]
    assert found == expected


def test_folders_that_cannot_be_read_and_names_that_are_no_text_are_named_or_listed(place, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(place / "images", images)
    (images / "offline").symlink_to("/nowhere/at/all")
    (images / "circle").symlink_to("circle")
    odd = os.fsencode(images) + b"/latin-\xe9.jpg"
    os.link(images / "a.jpg", odd)
    with pytest.raises(DataError, match=r"circle: it cannot be read as a folder: Too many levels of symbolic links"):
        source_records(str(images))
    (images / "circle").unlink()
    with pytest.raises(DataError, match=r"offline: it cannot be read as a folder: No such file.*--on-bad-image skip"):
        source_records(str(images))
    left_out = []
    assert len(source_records(str(images), left_out=left_out)) == 4
    assert [path for path, _ in left_out] == [f"{images}/offline", rf"{images}/latin-\xe9.jpg"]
    (images / "offline").unlink()
    with pytest.raises(DataError, match=r"latin-\\xe9.jpg: its name is not UTF-8 .*rename it"):
        source_records(str(images))
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "offline").symlink_to("/nowhere/at/all")
    with pytest.raises(DataError, match=r"none of its images can be read.*offline"):
        source_records(str(tmp_path / "only"), left_out=[])


def test_a_folder_without_permission_is_named(place):
    """As somebody without rights finds it: below a folder that is open to all."""
    with tempfile.TemporaryDirectory() as open_to_all:
        shutil.copytree(place / "images", f"{open_to_all}/images")
        for folder, mode in ((open_to_all, 0o755), (f"{open_to_all}/images", 0o755), (f"{open_to_all}/images/deep", 0)):
            os.chmod(folder, mode)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                left_out = []
                count = len(source_records(f"{open_to_all}/images", left_out=left_out))
                source_records(f"{open_to_all}/images")
            except DataError as error:
                os.write(writing, f"{count} {left_out} {error}".encode())
            finally:
                os._exit(0)  # whatever happens: it must not go on as a second run of the tests
        os.waitpid(child, 0)
        os.close(writing)
        told = os.read(reading, 10_000).decode()
        os.close(reading)
        os.chmod(f"{open_to_all}/images/deep", 0o755)
    why = "it cannot be read as a folder: Permission denied. Fix that."
    assert told.startswith(f"3 [('{open_to_all}/images/deep', '{why}')] {open_to_all}/images/deep: {why}")


def test_what_a_folder_leaves_out_is_counted_by_reason(place, tmp_path):
    shutil.copytree(place / "images", tmp_path / "images")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "images" / "film.GIF")
    for name in ("one.HEIC", "two.heic"):
        (tmp_path / "images" / name).write_bytes(b"x")
    said = []
    found = source_records(str(tmp_path / "images"), say=said.append)
    assert tmp_path / "images" / "film.GIF" in {record.path for record in found}
    counts = {line.split(" (for example")[0] for line in said}
    assert counts == {
        "left out, 2: hidden",
        "left out, 2: .heic is not read; convert such pictures to JPEG or PNG, and videos to frames",
        "left out, 1: not named like an image",
    }


def test_a_copy_of_a_data_set_is_no_folder_of_visible_photographs(place, tmp_path):
    with pytest.raises(DataError, match=r"laid out as RegDB, .* Write regdb:.* or give --modality"):
        source_records(str(place / "regdb"))
    said = []
    assert source_records(str(place / "regdb"), modality="infrared", say=said.append)
    assert "is laid out as RegDB" in said[0]
    (tmp_path / "bounding_box_train").mkdir()
    (tmp_path / "bounding_box_test").mkdir()
    (tmp_path / "query").mkdir()
    shutil.copy(place / "images" / "a.jpg", tmp_path / "query" / "0002_c1s1_000451_03.jpg")
    said = []
    assert len(source_records(str(tmp_path), say=said.append)) == 1
    assert f"market-1501:{tmp_path} reads them" in said[0]


def test_a_manifest_says_what_it_does_not_read(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,camra\na.jpg,1\n")
    said = []
    source_records(str(tmp_path), say=said.append)
    assert said == ["note: column 'camra' is not read. Did you mean 'camera'? Rename it."]
    (tmp_path / "manifest.csv").write_text("path\n../a.jpg\n")
    with pytest.raises(DataError, match="outside=allow"):
        source_records(str(tmp_path))
    assert len(source_records(str(tmp_path), options={"outside": "allow"})) == 1
