"""Market-1501 on a tree of its names: who trains, asks and answers, and what junk and distractors do to a score."""

import numpy as np
import pytest
from PIL import Image

from crossreid.data.catalogue import load, recognised
from crossreid.data.checking import check
from crossreid.data.records import DataError
from crossreid.evaluation.features import features_of
from crossreid.evaluation.procedure import evaluate

NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000776_01.jpg", "0007_c3s3_077419_03.JPG"],
    "query": ["0003_c1s6_015971_00.jpg", "0004_c2s6_016171_00.jpg"],
    "bounding_box_test": [
        "0003_c1s6_015996_02.jpg", "0003_c5s3_065187_01.jpg", "0004_c6s4_002427_07.jpg", "0000_c1s1_000151_01.jpg",
        "-1_c3s2_003612_01.jpg", "Thumbs.db",
    ],
}  # fmt: skip


@pytest.fixture
def market(tmp_path):
    rng = np.random.default_rng(0)
    for folder, names in NAMES.items():
        (tmp_path / folder).mkdir()
        for name in names:
            if name.endswith(".db"):
                (tmp_path / folder / name).write_bytes(b"x")
            else:
                pixels = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / name, "JPEG")
    return tmp_path


def test_the_parts_are_the_folders(market):
    split = load("market-1501", market)
    assert [(r.identity, r.camera, r.frame) for r in split.train] == [("2", 1, 451), ("2", 2, 776), ("7", 3, 77419)]
    assert [(r.identity, r.camera) for r in split.query] == [("3", 1), ("4", 2)]
    assert sorted((r.identity, r.camera) for r in split.gallery) == [("-1", 3), ("0", 1), ("3", 1), ("3", 5), ("4", 6)]
    assert split.protocol == "market-1501"
    assert recognised(market) == "market-1501"
    assert check("market-1501", market, expect="any").ok


def test_junk_is_passed_over_and_distractors_are_not(market):
    """Of each query the nearest is junk, then a distractor, then the match from its own camera, then the right one: rank 2."""
    split = load("market-1501", market)
    at = {"-1": 0.0, "0": 0.1}

    def vector(record):
        angle = at.get(record.identity, 0.05 if record.camera == 1 else 0.2)
        angle += 0 if record.identity in at else {"3": 0.0, "4": 0.01}[record.identity]
        return np.array([np.cos(angle), np.sin(angle)])

    records = split.test
    vectors = {r: np.array([1.0, 0.0]) if r in split.query else vector(r) for r in records}
    (score,) = evaluate(features_of(split.query, split.gallery, vectors), "market-1501")
    # Query 3: junk and its own camera's image are passed over; distractor, then its match. Query 4: distractor, 3 (0.05), 3 (0.2), 4.
    assert [float(value) for value in score.cmc[:4]] == [0, 0.5, 0.5, 1]


def test_what_does_not_follow_the_layout_is_named(market):
    with pytest.raises(DataError, match="bounding_box_train/` not found"):
        load("market-1501", market / "query")
    (market / "query" / "0003.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"0003\.jpg: expected a name like 0002_c1s1_000451_03\.jpg"):
        load("market-1501", market)
    (market / "query" / "0003.jpg").rename(market / "query" / "-1_c1s1_000001_00.jpg")
    with pytest.raises(DataError, match="junk and distractors may only be in the gallery"):
        load("market-1501", market)
