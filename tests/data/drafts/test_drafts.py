"""Drafts of manifests: from folders, names, layouts, annotations and tables, and what is guessed of the rest."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from crossreid.data.catalogue import load
from crossreid.data.drafts import draft, write
from crossreid.data.drafts.annotations import clipped
from crossreid.data.images import load_image
from crossreid.data.records import DataError, Modality


def picture(path, seed, *, grey=False, size=(40, 24), exif=None, like=None):
    """A coloured blot of its own on a path; with `grey` without colour, with `like` another picture written anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 4, 1 if grey else 3), dtype=np.uint8).repeat(3 if grey else 1, axis=2)
    image = Image.open(like) if like else Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    tags = Image.Exif()
    for tag, value in (exif or {}).items():
        if tag == 0x9003:
            tags.get_ifd(0x8769)[tag] = value
        else:
            tags[tag] = value
    image.save(path, quality=95, exif=tags)
    return path


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def by_name(made):
    return {record.path.name: (record, split) for record, split in made.rows}


def test_a_folder_an_identity(tmp_path):
    for number in range(6):
        for camera in (1, 2, 3):
            picture(
                tmp_path / f"cow{number}" / f"cam{camera}_2026112{camera}_083000.JPG",
                10 * number + camera,
                grey=camera == 3,
            )
    (tmp_path / "cow0" / "x.HEIC").write_bytes(b"x")
    (tmp_path / "cow0" / "y.txt").write_bytes(b"x")
    picture(tmp_path / "loose.jpg", 99)
    made = draft(tmp_path, workers=1)
    assert (len(made.rows), made.identities) == (18, 6)
    record, split = by_name(made)["cam3_20261123_083000.JPG"]
    assert (record.camera, record.modality, split) == (3, Modality.INFRARED, "")
    assert record.time == 1795422600
    assert any(line.startswith("camera: 3 by image names") for line in made.guesses)
    assert any(line.startswith("modality: 12 visible, 6 infrared") for line in made.guesses)
    assert any(".heic is not read" in line for line in made.left_out)
    assert any("not in the folder of an identity" in line for line in made.left_out)
    assert not (tmp_path / "manifest.csv").exists(), "nothing is written before it was looked at"
    write(made, tmp_path / "manifest.csv")
    assert load("manifest", tmp_path).protocol == "cross-modal"
    with pytest.raises(DataError, match="exists already"):
        write(made, tmp_path / "manifest.csv")
    alike = draft(tmp_path, modality="visible", workers=1)
    assert {record.modality for record, _ in alike.rows} == {Modality.VISIBLE}


def test_a_guess_that_leaves_nothing_to_find_is_not_made(tmp_path):
    """Each individual has a camera of its own: with cameras known, no query would have a match."""
    for number in range(4):
        for k in range(3):
            picture(tmp_path / f"{number}" / f"cam{number + 1}_{k}.jpg", 10 * number + k)
    made = draft(tmp_path, workers=1)
    assert {record.camera for record, _ in made.rows} == {0}
    (line,) = (line for line in made.guesses if line.startswith("camera: unknown"))
    assert "4 of 4 identities one camera each" in line


def test_splits_modalities_and_places_from_folders(tmp_path):
    for part, numbers in (("train", (1, 2)), ("test", (3, 4))):
        for number in numbers:
            for place in ("north", "south"):
                for kind in ("rgb", "thermal"):
                    picture(tmp_path / part / kind / f"p{number}" / place / f"{kind}.png", 1)
    made = draft(tmp_path, workers=1)
    assert {split for _, split in made.rows} == {"train", "test"}
    assert {(r.modality, r.path.parts[-4]) for r, _ in made.rows} == {
        (Modality.VISIBLE, "rgb"),
        (Modality.INFRARED, "thermal"),
    }
    assert {(record.camera, record.path.parent.name) for record, _ in made.rows} == {(1, "north"), (2, "south")}
    assert any("1 = north, 2 = south" in line for line in made.guesses)


def test_time_and_cameras_by_exif_and_what_leaks(tmp_path):
    for number in range(4):
        for k in range(4):
            taken = f"2026:11:2{k // 2 + 1} 08:30:{10 * (k % 2):02d}"
            picture(
                tmp_path / f"{number}" / f"{k}.jpg",
                10 * number + k,
                exif={0x9003: taken, 0x0110: f"Trap {'AB'[k // 2]}"},
            )
    made = draft(tmp_path, workers=1)
    assert any(line.startswith("time: 16 from EXIF") for line in made.guesses)
    assert any("2 by devices in EXIF" in line and "1 = Trap A" in line for line in made.guesses)
    assert made.leaks == (), "what one camera took in a burst, its exclusion leaves out"
    picture(tmp_path / "3" / "again.jpg", 0, like=tmp_path / "0" / "0.jpg")
    for number in range(4):
        for k in range(4):
            picture(tmp_path / f"{number}" / f"{k}.jpg", 10 * number + k, exif={0x9003: "2026:11:21 08:30:00"})
    leaking = draft(tmp_path, workers=1).leaks
    assert any("near-duplicates of one of another" in line and "again.jpg" in line for line in leaking)
    assert any("within 60 s" in line for line in leaking)


def test_identities_from_names(tmp_path):
    for name in ("cow7_001.jpg", "cow7_002.jpg", "cow9_001.jpg", "cow9_002.jpg", "x.jpg"):
        picture(tmp_path / name, sum(name.encode()))
    made = draft(tmp_path, "names", workers=1)
    assert sorted({record.identity for record, _ in made.rows}) == ["cow7", "cow9"]
    assert any("has no identity" in line for line in made.left_out)
    with pytest.raises(DataError, match="--from names"):
        draft(tmp_path, workers=1)


def test_market_1501_with_junk_and_distractors(tmp_path):
    for k, name in enumerate((
        "bounding_box_train/0002_c1s1_000451_03.jpg", "bounding_box_train/0007_c2s1_000776_01.jpg", "query/0003_c1s6_015971_00.jpg",
        "bounding_box_test/0003_c5s3_065187_01.jpg", "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/-1_c3s2_003612_01.jpg",
    )):  # fmt: skip
        picture(tmp_path / name, k)
    made = draft(tmp_path, "market-1501", workers=1)
    write(made, tmp_path / "manifest.csv")
    splits = {row["path"].rpartition("/")[2][:4]: row["split"] for row in rows_of(tmp_path / "manifest.csv")}
    assert splits == {"0002": "train", "0007": "train", "0003": "gallery", "0000": "distractor", "-1_c": "junk"}
    split = load("manifest", tmp_path)
    assert [(r.identity, r.camera) for r in split.query] == [("3", 1)]
    assert sorted(r.identity for r in split.gallery) == ["0", "3"]


@pytest.fixture
def annotated(tmp_path):
    """Two pictures, each with two boxes; the first is turned by EXIF, so that its upright size is 24 by 40."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.jpg", ord(name), size=(60, 80))
    return tmp_path


def test_coco_annotations_become_boxes(annotated):
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "location": "river", "datetime": "2026-11-21 08:30:00"},
            {"id": 2, "file_name": "b.jpg", "location": "hill", "datetime": "2026-11-22 08:30:00"},
            {"id": 3, "file_name": "gone.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "bbox": [10.2, 5, 20.5, 30], "individual_id": "Zoë", "category_id": 1},
            {"id": 2, "image_id": 1, "bbox": [40, 5, 60, 30], "individual_id": 12, "category_id": 1},
            {"id": 3, "image_id": 2, "bbox": [0, 0, 30, 60], "individual_id": "Zoë", "category_id": 1},
            {"id": 4, "image_id": 3, "bbox": [0, 0, 30, 60], "individual_id": "Zoë"},
            {"id": 5, "image_id": 2, "bbox": [0, 0, 0, 0], "individual_id": "Zoë"},
            {"id": 6, "image_id": 2, "bbox": [0, 0, 10, 10]},
            {"id": 7, "image_id": 2, "bbox": [0, 0, 30, 60], "individual_id": "Max"},
        ],
        "categories": [{"id": 1, "name": "cow"}],
    }  # fmt: skip
    (annotated / "instances.json").write_text(json.dumps(content))
    made = draft(annotated, "coco", workers=1)
    assert [(r.identity, r.box, r.camera) for r, _ in made.rows] == [
        ("Zoë", (10, 5, 31, 35), 2), ("12", (40, 5, 80, 35), 2), ("Zoë", (0, 0, 30, 60), 1),
    ]  # fmt: skip
    assert made.rows[0][0].time == 1795249800
    assert sum(int(line.split()[2].rstrip(":")) for line in made.left_out if ": annotations " in line) == 2
    assert any("named by the annotations, but not found" in line and "gone.jpg" in line for line in made.left_out)
    assert any("that occur twice" in line and "b.jpg#xywh=0,0,30,60" in line for line in made.left_out)
    write(made, annotated / "manifest.csv")
    row = rows_of(annotated / "manifest.csv")[0]
    assert (row["path"], row["box"]) == ("images/a.jpg", "10,5,21,30")
    from crossreid.data.readers.manifest_rows import read_rows

    record = read_rows(annotated / "manifest.csv")[0][0]
    whole = np.asarray(Image.open(annotated / "images" / "a.jpg"))
    assert np.array_equal(load_image(record), whole[5:35, 10:31]), "the crop is cut when it is read"
    (annotated / "instances.json").write_text(json.dumps({**content, "annotations": [{"id": 1, "image_id": 1}]}))
    with pytest.raises(DataError, match="no annotation gives an identity"):
        draft(annotated, "coco", workers=1)


def test_yolo_labels_become_boxes(annotated):
    (annotated / "labels").mkdir()
    (annotated / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.4 0.4\n")
    (annotated / "data.yaml").write_text("names: {0: Zoë, 1: Max}\n")
    made = draft(annotated, "yolo", workers=1)
    assert [(record.identity, record.box) for record, _ in made.rows] == [
        ("Zoë", (20, 15, 60, 45)),
        ("Max", (0, 0, 24, 18)),
    ]
    assert any("pictures without a label file" in line for line in made.left_out)
    (annotated / "labels" / "a.txt").write_text("cow 0.5\n")
    with pytest.raises(DataError, match=r"a\.txt, line 1: expected `class x y width height`"):
        draft(annotated, "yolo", workers=1)


def test_a_table_of_other_names(annotated):
    table = annotated / "animals.csv"
    table.write_text(
        "filename;individual;station;xmin;ymin;xmax;ymax;mood\nimages\\a.jpg;Zoë;north;1;2;30;40;calm\n"
        "images/b.jpg;Zoë;south;;;;;calm\nimages/c.jpg;Max;south;;;;;calm\n"
    )
    made = draft(annotated, "csv", workers=1)
    assert [(r.identity, r.camera, r.box) for r, _ in made.rows] == [("Zoë", 1, (1, 2, 30, 40)), ("Zoë", 2, None)]
    assert any("1 = north, 2 = south" in line for line in made.notes)
    assert any("'mood'" in line for line in made.notes)
    assert any("not found" in line for line in made.left_out)
    table.write_text("picture,mood\na.jpg,calm\n")
    with pytest.raises(DataError, match="no column looks like the identity"):
        draft(annotated, "csv", workers=1)


def test_boxes_are_cut_to_the_picture():
    assert clipped((-5, -5, 20, 20), (80, 60)) == (0, 0, 15, 15)
    assert clipped((70.4, 50, 20, 20), (80, 60)) == (70, 50, 80, 60)
    for box in ((80, 0, 5, 5), (0, 0, 0, 5), (0, 0, float("nan"), 1), None, "1234", (1, 2, 3)):
        assert clipped(box, (80, 60)) is None


def test_names_that_a_manifest_cannot_hold_or_would_read_otherwise(tmp_path):
    for number in range(3):
        for k in range(2):
            picture(tmp_path / f"cow{number}" / f"{k}.jpg", 10 * number + k)
            picture(tmp_path / "Zoe\u0308" / f"{k}.jpg", 90 + k)
    made = draft(tmp_path, workers=1)
    assert "Zo\u00eb" in {record.identity for record, _ in made.rows}
    write(made, tmp_path / "manifest.csv")
    picture(tmp_path / "cow0" / "2.jpg ".strip(), 5).rename(tmp_path / "cow0" / " 2.jpg")
    (tmp_path / "cow0" / " 2.jpg").rename(tmp_path / "cow0" / "2\n.jpg")
    with pytest.raises(DataError, match=r"line break"):
        write(draft(tmp_path, workers=1), tmp_path / "manifest.csv", replace=True)
    assert len(rows_of(tmp_path / "manifest.csv")) == 8, "what was there stays"


@pytest.mark.parametrize(
    "content",
    [
        "null", "[]", '{"images": null}', '{"images": [1], "annotations": []}', "[" * 100_000, "\x00",
        '{"images": [{"id": [1], "file_name": "images/a.jpg"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "name": "x"}]}',
        '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "name": "x"}], "categories": 5}',
        '{"images": [{"id": 1, "file_name": "images/a.jpg"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 1e400, 4], "name": 1}]}',
    ],
)  # fmt: skip
def test_annotations_that_cannot_be_used_are_refused(annotated, content):
    (annotated / "c.json").write_text(content)
    with pytest.raises(DataError, match=r"c\.json"):
        draft(annotated, "coco", workers=1)
