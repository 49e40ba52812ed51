"""benchmarks/cattle.py on a few drawn pictures and a weight file of a small network."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from benchmark_modules import benchmark
from forked import fork_runs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TRAIN, TEST = [f"cow{i}" for i in range(6)], ["cow8", "cow9"]


@pytest.fixture
def cattle(monkeypatch):
    with benchmark(monkeypatch, "cattle") as found:
        yield found


@pytest.fixture
def images(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    rows = [("path", "identity", "modality", "split")]
    for cow in [*TRAIN, *TEST]:
        (folder / cow).mkdir(parents=True)
        # One of those to train was never seen by night.
        for modality in ("visible", "infrared") if cow != TRAIN[1] else ("visible",):
            role = "train" if cow in TRAIN else "gallery" if modality == "visible" else "query"
            for i in range(2):
                path = f"{cow}/{modality}{i}.jpg"
                Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / path)
                rows.append((path, cow, modality, role))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_validation_cows_are_training_cows_of_both_modalities_and_no_test_cow_is_listed(cattle, images, tmp_path):
    path, asked = cattle.write_manifest(images, tmp_path / "out", (32, 16), validation=True)
    assert asked == ["cow2", "cow5"]  # the second and the fifth of 0, 2, 3, 4, 5
    listed = rows_of(path)
    assert {row["identity"] for row in listed} == set(TRAIN)
    assert {row["identity"] for row in listed if row["split"] == "test"} == set(asked)
    assert Image.open(path.parent / listed[0]["path"]).size == (16, 32)

    path, asked = cattle.write_manifest(images, tmp_path / "out", (32, 16), validation=False)
    assert asked == []
    assert {row["identity"]: row["split"] for row in rows_of(path)}["cow9"] in ("query", "gallery")
    assert len(rows_of(path)) == len(rows_of(images / "manifest.csv"))


def test_every_method_has_a_recipe_on_the_given_backbone(cattle, tmp_path):
    weights = tmp_path / "tf_efficientnet_lite0.safetensors"
    for name, changes in cattle.METHODS.items():
        recipe = cattle.recipe_of(changes, tmp_path / "a.csv", weights, (96, 56), 1, [], arithmetic="32-true")
        assert recipe.method.backbone.name == "tf_efficientnet_lite0"
        assert recipe.method.backbone.weights == ("none" if name.endswith("random") else str(weights))


def test_runs_are_scored_and_not_run_again(cattle, images, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    weights, kept = tmp_path / "test_resnet.safetensors", tmp_path / "kept.json"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    out, command = tmp_path / "out", "--seeds 0 --size 32x16 --epochs 1 --set data.sampler.identities=2"
    given = [str(images), str(weights), str(out), *command.split(), "--json", str(kept), "--methods"]
    cattle.main([*given, "identity", "baseline"])
    (about,) = (out / "test-32x16-1").glob("baseline/seed-0/results.json")
    first, written = json.loads(kept.read_text(encoding="utf-8")), about.stat().st_mtime_ns
    *trained, untouched = first["table"]["rows"]
    assert [row["key"] for row in trained] == ["identity", "baseline"]
    assert (untouched["title"], untouched["group"]) == ("test_resnet", "pretrained, not trained here")
    assert untouched["figures"].keys() == trained[0]["figures"].keys()
    assert "| **pretrained, not trained here** |" in (about.parents[2] / "table.md").read_text(encoding="utf-8")
    cattle.main([*given, "identity", "baseline"])
    assert json.loads(kept.read_text(encoding="utf-8"))["table"] == first["table"]
    assert about.stat().st_mtime_ns == written
