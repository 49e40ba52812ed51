import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from crossreid.data.records import DataError
from crossreid.data.synthetic import contact_sheet, synthesise
from crossreid.data.synthetic.cameras import CAMERAS
from crossreid.data.synthetic.people import person
from crossreid.data.synthetic.people_images import image_of

SIZE = (64, 32)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("layout", ["sysu-mm01", "regdb"])
def test_same_seed_same_bytes_whatever_the_workers(tmp_path, layout):
    for name, workers in (("a", 1), ("b", 2)):
        synthesise(tmp_path / name, layout, 5, 7, images_per_camera=1, size=SIZE, workers=workers)
    synthesise(tmp_path / "c", layout, 5, 8, images_per_camera=1, size=SIZE, workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_a_person_looks_the_same_in_a_larger_world(tmp_path):
    for name, people in (("small", 5), ("large", 9)):
        synthesise(tmp_path / name, "sysu-mm01", people, 0, images_per_camera=1, size=SIZE, workers=1)
    for path in (tmp_path / "small").glob("cam*/0003/0001.jpg"):
        twin = tmp_path / "large" / path.relative_to(tmp_path / "small")
        assert path.read_bytes() == twin.read_bytes()


def test_each_modality_sees_only_its_own_factors():
    who, other = person(0, 1), person(0, 2)
    hues = dataclasses.replace(who, visible=other.visible)
    reflectances = dataclasses.replace(who, infrared=other.infrared)
    bodies = dataclasses.replace(who, shared=other.shared)
    for number, camera in CAMERAS.items():
        plain, recoloured, redyed, reshaped = (
            image_of(p, 0, 1, number, 0, (128, 64))[0] for p in (who, hues, reflectances, bodies)
        )
        infrared = camera.modality.name == "INFRARED"
        assert np.array_equal(plain, recoloured) == infrared
        assert np.array_equal(plain, redyed) != infrared
        assert not np.array_equal(plain, reshaped)
        assert (plain == plain[:, :, :1]).all() == infrared


def test_hue_says_nothing_of_reflectance():
    people = [person(0, identity) for identity in range(2000)]
    brightness = np.array([sum(p.visible.top) for p in people], dtype=float)
    reflectance = np.array([p.infrared.top for p in people])
    assert abs(np.corrcoef(brightness, reflectance)[0, 1]) < 0.06
    assert len({p.shared for p in people}) == 2000


def test_factors_are_of_each_image(tmp_path):
    root = synthesise(tmp_path / "w", "manifest", 5, 0, images_per_camera=2, size=SIZE, workers=1)
    rows = list(csv.DictReader((root / "factors.csv").open()))
    assert len(rows) == 5 * 6 * 2
    assert all((root / row["path"]).is_file() for row in rows)
    assert {key.split("_")[0] for key in rows[0]} == {
        "path",
        "identity",
        "camera",
        "modality",
        "shared",
        "visible",
        "infrared",
        "nuisance",
    }
    assert rows[0]["shared_top"] == person(0, int(rows[0]["identity"])).shared.top
    assert len({row["nuisance_heading"] for row in rows}) > 50


def test_a_contact_sheet_shows_every_camera(tmp_path):
    root = synthesise(tmp_path / "w", "sysu-mm01", 5, 0, images_per_camera=1, size=SIZE, workers=1)
    with Image.open(contact_sheet(root, tmp_path / "sheet.png", identities=3, height=100)) as sheet:
        assert sheet.size == (6 * 54 + 4, 3 * 104 + 20)
        tiles = np.asarray(sheet)[20:, :]
    assert tiles.std() > 30
    with pytest.raises(DataError, match=r"factors\.csv not found"):
        contact_sheet(tmp_path, tmp_path / "none.png")
    with pytest.raises(DataError, match=r"none\.txt: expected a name ending in \.png or \.jpg"):
        contact_sheet(root, tmp_path / "none.txt")


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(DataError, match="not empty"):
        synthesise(tmp_path / "full", "regdb", 5, 0)
    with pytest.raises(DataError, match="layout 'moon' is unknown"):
        synthesise(tmp_path / "x", "moon", 5, 0)
    with pytest.raises(DataError, match="expected 4 or more"):
        synthesise(tmp_path / "x", "regdb", 3, 0)
    with pytest.raises(ValueError):
        synthesise(tmp_path / "x", "regdb", 5, 0, size=(0, 0), workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
