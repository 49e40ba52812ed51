"""benchmarks/cattle_ablation.py on a few drawn pictures and a weight file of a small network."""

import csv
import json

import pytest
import timm
from safetensors.torch import save_file

from benchmark_modules import benchmark
from drawn_cows import TEST, draw_cows
from forked import fork_runs


@pytest.fixture
def ablation(monkeypatch):
    with benchmark(monkeypatch, "cattle_ablation") as found:
        yield found


def test_cells_differ_from_the_reference_in_what_they_say_alone(ablation, tmp_path):
    weights = tmp_path / "tf_efficientnet_lite0.safetensors"
    base = ablation.recipe_of(
        ablation.METHODS["vd"], tmp_path / "a.csv", weights, (96, 56), 1, [], arithmetic="32-true"
    )
    for name, sizes in (("vd", ()), ("weight", ()), ("z-size", (8, 256))):
        study = ablation.study_of(name, sizes)
        recipes = {cell.key: study.recipe(base, cell, 3, tmp_path) for cell in study.cells}
        assert study.reference in recipes
        assert len({recipe.as_yaml() for recipe in recipes.values()}) == len(recipes)
        assert all(recipe.data == base.data for recipe in recipes.values())
        assert {recipe.method.encoder.weights for recipe in recipes.values()} == {str(weights)}
        assert {recipe.training.seed for recipe in recipes.values()} == {3}


def test_runs_are_scored_by_observation_and_representation_without_a_test_cow(ablation, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    images, weights, kept = draw_cows(tmp_path / "images"), tmp_path / "test_resnet.safetensors", tmp_path / "kept.json"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    command = "--seeds 0 --size 32x16 --epochs 1 --sizes 4,256 --set data.sampler.identities=2"
    ablation.main(["z-size", str(images), str(weights), str(tmp_path / "out"), *command.split(), "--json", str(kept)])
    found = json.loads(kept.read_text(encoding="utf-8"))
    assert found["held_out"] == ["cow2", "cow5"]
    *trained, untouched = found["table"]["rows"]
    assert [row["key"] for row in trained] == ["z-4", "z-256"]
    assert {"v", "z", "both"} <= trained[0]["figures"].keys()
    assert untouched["title"] == "test_resnet"
    with (tmp_path / "out" / "32x16" / "validation.csv").open(newline="", encoding="utf-8") as stream:
        assert not {row["identity"] for row in csv.DictReader(stream)} & set(TEST)
