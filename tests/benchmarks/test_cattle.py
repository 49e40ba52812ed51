"""benchmarks/cattle.py on a few drawn pictures and a weight file of a small network."""

import csv
import json

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from benchmark_modules import benchmark
from drawn_cows import TRAIN, draw_cows
from forked import fork_runs


@pytest.fixture
def cattle(monkeypatch):
    with benchmark(monkeypatch, "cattle") as found:
        yield found


@pytest.fixture
def images(tmp_path):
    return draw_cows(tmp_path / "images")


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
