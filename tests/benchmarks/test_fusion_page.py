"""docs/fusion.md has the table of its results, and what was measured is of the training cows, in halves that share no animal."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark_modules import benchmark

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fusion(monkeypatch):
    with benchmark(monkeypatch, "fusion") as found:
        yield found


def test_the_page_has_the_table_of_the_results(fusion):
    results = json.loads(fusion.RESULTS.read_text(encoding="utf-8"))
    assert f"{fusion.BEGIN}\n\n{fusion.table(results)}\n\n{fusion.END}" in fusion.PAGE.read_text(encoding="utf-8"), (
        "docs/fusion.md is out of date: python benchmarks/fusion.py --write"
    )


def test_figures_are_means_of_both_directions_with_the_spread_of_splits(fusion):
    rows = [
        {
            "data": "cattle",
            "split": split,
            "direction": direction,
            "way": way,
            "rank-1": value,
            "mAP": value,
            "mINP": 0.0,
        }
        for way, values in (
            ("tf_efficientnet_lite0", (0.1, 0.3, 0.2, 0.4)),
            ("mobilenetv2_100", (0.0, 0.0, 0.0, 0.0)),
            ("calibrated", (0.3, 0.3, 0.5, 0.5)),
        )
        for (split, direction), value in zip(((0, 0), (0, 1), (1, 0), (1, 1)), values, strict=True)
    ]
    last = fusion.table({"rows": rows}).splitlines()[-1]
    assert last == "| cattle, night to day | calibrated | 40.0 ± 14.1 | 40.0 ± 14.1 | 0.0 ± 0.0 | +15.0 ± 7.1 |"


def test_no_test_cow_is_embedded_and_halves_share_no_animal(fusion, tmp_path):
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "identity", "modality", "split"))
        for split in ("train", "query", "gallery"):
            writer.writerow((f"{split}.jpg", split, "visible", split))
    written = fusion.manifest_of("cattle", tmp_path, tmp_path).read_text()
    assert [Path(row["path"]).name for row in csv.DictReader(written.splitlines())] == ["train.jpg"]
    who = np.array([f"{animal}-{flank}" for animal in range(9) for flank in ("left", "right")])
    for split in range(3):
        one, other = fusion.halves_of(who, split)
        animals = [{name.split("-")[0] for name in who[half]} for half in (one, other)]
        assert not animals[0] & animals[1]
        assert (one ^ other).all()
        assert {len(each) for each in animals} == {4, 5}
    assert not np.array_equal(fusion.halves_of(who, 0)[0], fusion.halves_of(who, 1)[0])


def test_what_is_remembered_is_what_sift_says(fusion):
    rng = np.random.default_rng(0)
    first = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize((96, 96)))
    second = np.ascontiguousarray(first[::-1])
    remembered = fusion.Remembered()
    assert remembered.match(first, first) == remembered.matcher.match(first, first) == remembered.match(first, first)
    assert remembered.match(first, second) == remembered.matcher.match(first, second)
    assert len(remembered.found) == 2
