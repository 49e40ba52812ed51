"""The folder of a clustering: what is in it, and that it is there whole or not at all."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from crossreid.clustering import sheets, written
from crossreid.clustering.cluster_crops import cluster_crops
from crossreid.clustering.written import WriteOptions, write_clustering
from crossreid.data.checking import check
from crossreid.data.picture_rows import GAP, TILE, TILES
from crossreid.data.readers.manifest_rows import read_rows
from crossreid.errors import CrossreidError
from drawn_crops import at, crops_of


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def place(tmp_path):
    """Seven pictures of three: 0.jpg twice as it is and once a little darker, each of the others in two cameras."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("0", "3", "4", "5", "6"):
        pixels = Image.fromarray(rng.integers(0, 255, (8, 4, 3), np.uint8)).resize((24, 48), Image.Resampling.BICUBIC)
        pixels.save(folder / f"{name}.jpg", quality=95)
    shutil.copy(folder / "0.jpg", folder / "1.jpg")
    with Image.open(folder / "0.jpg") as image:
        image.point(lambda value: int(0.9 * value)).save(folder / "2.jpg", quality=95)
    return tmp_path


def seven(where, **more):
    angles = np.radians([0, 0, 1, 3, 3, 12, 12])
    rows = np.zeros((7, 4))
    rows[:, 0], rows[range(7), [1, 1, 1, 1, 2, 3, 3]] = np.cos(angles), np.sin(angles)
    rows[5:] = [[0, 0, 0, 1], [0, 0, 0.1, 1]]
    known = {
        "paths": [f"{where}{row}.jpg" for row in range(7)], "cameras": [1, 1, 1, 1, 2, 1, 2],
        "times": [0.0, 1.0, 60.0, 61.0, 62.0, 0.0, np.nan], "identities": ["a", "a", "a", "a", None, "b", "a"],
    } | more  # fmt: skip
    return crops_of(rows, **known)


def test_everything_that_is_written(place):
    crops = seven(f"{place}/pictures/")
    summary = write_clustering(place / "out", crops, cluster_crops(crops, at(0.9, crops)), source="seven")
    names = {path.name for path in (place / "out").iterdir()}
    assert names == {"clusters.parquet", "manifest.csv", "duplicates.csv", "bursts.csv", "summary.json", "sheets"}
    assert json.loads((place / "out" / "summary.json").read_text()) == summary
    assert (summary["source"], summary["crops"], summary["clusters"], summary["largest"]) == ("seven", 7, 2, 5)
    assert summary["scores"]["images"] == 6
    table = parquet.read_table(place / "out" / "clusters.parquet").to_pydict()
    assert table["id"] == crops.ids
    assert table["cluster"] == [0, 0, 0, 0, 0, 1, 1]
    assert table["size"] == [5] * 5 + [2] * 2
    assert table["identity"] == crops.identities
    assert table["time"][6] is None
    assert table["burst"] == [0, 0, 1, 1, 2, 3, 4]
    found = read_rows(place / "out" / "manifest.csv")
    assert [(record.path.name, record.identity) for record, _ in found] == [
        *((f"{row}.jpg", "cluster-000000") for row in range(5)), *((f"{row}.jpg", "cluster-000001") for row in (5, 6)),
    ]  # fmt: skip
    assert [record.camera for record, _ in found] == [1, 1, 1, 1, 2, 1, 2]
    assert check("manifest", place / "out").ok
    kinds = {(row["id"], row["other"]): row["kind"] for row in rows_of(place / "out" / "duplicates.csv")}
    assert kinds["0000.jpg", "0001.jpg"] == "bytes"
    assert kinds["0000.jpg", "0002.jpg"] == "look"
    assert kinds["0000.jpg", "0003.jpg"] == "embedding"
    assert ("0005.jpg", "0000.jpg") not in kinds
    assert summary["duplicates"] == {kind: list(kinds.values()).count(kind) for kind in sorted(set(kinds.values()))}
    burst_rows = [(row["burst"], row["id"]) for row in rows_of(place / "out" / "bursts.csv")]
    assert burst_rows == [("0", "0000.jpg"), ("0", "0001.jpg"), ("1", "0002.jpg"), ("1", "0003.jpg")]
    assert summary["bursts"] == {"bursts": 2, "crops": 4}
    with Image.open(place / "out" / "sheets" / "001.jpg") as sheet:
        assert sheet.width == TILES * (TILE + GAP) + GAP
        red = np.asarray(sheet).astype(int)
        assert ((red[..., 0] > 150) & (red[..., 1] < 80)).any()  # the crop that is not of most of its cluster


def test_the_manifest_leaves_out_what_it_is_asked_to_and_what_is_not_there(place):
    (place / "pictures" / "4.jpg").unlink()
    crops = seven(f"{place}/pictures/")
    found = cluster_crops(crops, at(0.9, crops))
    summary = write_clustering(place / "out", crops, found, WriteOptions(min_size=3, one_per_burst=True, sheets=0))
    counts = {"images": 2, "identities": 1, "small": 2, "burst": 2, "missing": 1, "repeated": 0}
    assert summary["manifest"] == counts
    assert len(read_rows(place / "out" / "manifest.csv")) == 2
    assert not (place / "out" / "sheets").exists()


def test_pictures_are_found_below_a_folder_or_done_without(place):
    crops = seven("elsewhere/")
    found = cluster_crops(crops, at(0.9, crops))
    summary = write_clustering(place / "none", crops, found)
    assert summary["manifest"] is None
    assert set(summary["duplicates"]) == {"embedding"}
    (place / "elsewhere").symlink_to(place / "pictures")
    summary = write_clustering(place / "some", crops, found, images=[place])
    assert summary["manifest"]["images"] == 7
    with pytest.raises(CrossreidError, match="expected a folder of images"):
        write_clustering(place / "out", crops, found, images=[place / "nowhere"])


def test_a_picture_under_two_ids_is_in_the_manifest_once(place):
    crops = seven(f"{place}/pictures/", paths=[f"{place}/pictures/{row}.jpg" for row in (0, 0, 2, 3, 4, 5, 6)])
    summary = write_clustering(place / "out", crops, cluster_crops(crops, at(0.9, crops)))
    assert (summary["manifest"]["images"], summary["manifest"]["repeated"]) == (6, 1)


def test_pages_hold_the_largest_clusters_and_there_are_no_more_than_asked_for(place, monkeypatch):
    monkeypatch.setattr(sheets, "ROWS", 1)
    crops = seven(f"{place}/pictures/")
    found = cluster_crops(crops, at(0.9, crops))
    assert write_clustering(place / "two", crops, found)["sheets"] == 2
    assert write_clustering(place / "one", crops, found, WriteOptions(sheets=1))["sheets"] == 1


def test_a_folder_is_written_whole_or_not_at_all(place, monkeypatch):
    crops = seven(f"{place}/pictures/")
    found = cluster_crops(crops, at(0.9, crops))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(written, "write_json", full)
    before = sorted(place.iterdir())
    with pytest.raises(CrossreidError, match="no space left"):
        write_clustering(place / "out", crops, found)
    assert sorted(place.iterdir()) == before
    (place / "out").mkdir()
    with pytest.raises(CrossreidError, match="is there already"):
        write_clustering(place / "out", crops, found)


@pytest.mark.parametrize(
    "options", [{"min_size": 0}, {"sheets": -1}, {"burst_seconds": float("nan")}, {"duplicate": 2}]
)
def test_options_that_are_none_are_named(options):
    with pytest.raises(CrossreidError, match=f"--{next(iter(options)).replace('_', '-')}"):
        WriteOptions(**options)
