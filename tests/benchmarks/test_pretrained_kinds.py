"""benchmarks/pretrained.py on a handful of rendered people, and on drawn photographs, from a weight file of a small network."""

import csv
import json

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from benchmark_modules import benchmark
from forked import fork_runs


@pytest.fixture
def pretrained(monkeypatch):
    with benchmark(monkeypatch, "pretrained") as found:
        monkeypatch.setattr(found, "PEOPLE", 8)
        monkeypatch.setattr(found, "STEPS_AN_EPOCH", 2)
        yield found


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return path


@pytest.fixture
def photographs(tmp_path):
    """Ten animals seen three times each, from the left."""
    rng, folder = np.random.default_rng(0), tmp_path / "photographs"
    folder.mkdir()
    rows = [("path", "identity", "view")]
    for animal in range(10):
        for sighting in range(3):
            name = f"{3 * animal + sighting}_leftphoto.jpg"
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / name)
            rows.append((name, f"a{animal}", "left"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder


@pytest.mark.parametrize("kind", ["rendered", "nyala"])
def test_methods_are_trained_on_either_kind_and_scored(pretrained, weights, photographs, tmp_path, monkeypatch, kind):
    fork_runs(monkeypatch)
    out, kept = tmp_path / "out", tmp_path / "kept.json"
    command = "--seeds 0 --size 32x16 --epochs 1 --methods identity baseline --set data.sampler.identities=2"
    given = [kind, str(weights), str(out), *command.split(), "--json", str(kept)]
    pretrained.main([*given, "--set", "data.sampler.images=2", "--images", str(photographs)])
    told = json.loads(kept.read_text(encoding="utf-8"))
    assert told["kind"] == kind
    *trained, untouched = told["table"]["rows"]
    assert [row["key"] for row in trained] == ["identity", "baseline"]
    assert untouched["title"] == "test_resnet"
    recipe = (out / f"{kind}-32x16-1" / "baseline" / "seed-0" / "recipe.yaml").read_text(encoding="utf-8")
    assert ("pseudo_infrared: query" in recipe) == (kind == "nyala")
    about = json.loads((out / f"{kind}-32x16-1" / "baseline" / "seed-0" / "results.json").read_text(encoding="utf-8"))
    assert about["steps"] == 2


def test_photographs_must_be_named(pretrained, weights, tmp_path):
    with pytest.raises(Exception, match="nyala needs --images PHOTOGRAPHS"):
        pretrained.main(["nyala", str(weights), str(tmp_path / "out"), "--methods", "identity", "baseline"])
