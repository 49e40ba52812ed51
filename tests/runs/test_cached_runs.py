"""Runs with images kept decoded: the same bits as without, also resumed, and tested and embedded from the same place."""

import numpy as np
import pytest
import torch

import crossreid
from crossreid.data import pixel_cache
from crossreid.data.cache_files import read_pack
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.embedding_files import read_embeddings
from crossreid.files import json_rows
from crossreid.runs.recipe import make_recipe
from crossreid.training.checkpoint import load_checkpoint

EPOCHS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return synthesise(
        tmp_path_factory.mktemp("world") / "llcm", "llcm", 12, 0, images_per_camera=1, size=(32, 16), workers=1
    )


def recipe_on(root, epochs=EPOCHS, **data):
    given = {
        "name": "llcm", "root": str(root), "height": 32, "width": 16, "workers": 0, "options": {"validation": 2},
        "augment": {"pad": 2, "jitter": 0.2, "grey": 0.3, "erasing": 0.5},
        "sampler": {"identities": 2, "images": 4, "epoch": 3},
    }  # fmt: skip
    network = {"name": "test_resnet", "weights": "none"}
    method = {"name": "baseline", "backbone": network}
    training = {"epochs": epochs, "optimiser": {"lr": 1e-3}, "schedule": {"kind": "constant"}}
    return make_recipe({"data": given | data, "method": method, "training": training})


def outcome(folder):
    """Weights at the end, and what was measured on the way."""
    rows = [{k: v for k, v in row.items() if k != "images_per_second"} for row in json_rows(folder / "metrics.jsonl")]
    kinds = load_checkpoint(folder / "last.safetensors").tensors
    return {(kind, name): tensor for kind, named in kinds.items() for name, tensor in named.items()}, rows


def assert_same_run(one, other):
    (weights, rows), (others, theirs) = outcome(one), outcome(other)
    assert rows == theirs
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.fixture(scope="module")
def plain(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "run"
    crossreid.train(recipe_on(root), out)
    return out


@pytest.fixture(scope="module")
def on_disk(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    crossreid.train(recipe_on(root, epochs=1, cache="disk", cache_folder=str(folder / "cache")), folder / "run")
    crossreid.train(recipe_on(root, cache="disk", cache_folder=str(folder / "cache"), workers=1), folder / "run")
    return folder


def test_a_run_from_disk_resumed_with_workers_is_the_run_without(plain, on_disk):
    assert_same_run(on_disk / "run", plain)


def test_a_run_from_memory_is_the_run_without_and_leaves_nothing(plain, root, tmp_path, monkeypatch):
    decoded = []
    load = pixel_cache.load_image
    monkeypatch.setattr(
        pixel_cache, "load_image", lambda record, **given: decoded.append(record) or load(record, **given)
    )
    # A run may be given another place for its images at any start.
    crossreid.train(recipe_on(root, epochs=1), tmp_path / "run")
    crossreid.train(recipe_on(root, cache="memory"), tmp_path / "run")
    assert_same_run(tmp_path / "run", plain)
    assert len(decoded) == len(set(decoded)) > 0, "each image once, those that validate too"
    assert list(pixel_cache._IN_MEMORY) == []


def test_it_is_evaluated_and_embedded_from_the_same_folder(plain, on_disk, root, monkeypatch):
    expected = [score.to_json() | {"file": ""} for score in crossreid.evaluate(plain)]
    before = sorted(on_disk.glob("cache/*/*.images"))
    assert [score.to_json() | {"file": ""} for score in crossreid.evaluate(on_disk / "run")] == expected
    (added,) = {*on_disk.glob("cache/*/*.images")} - {*before}
    assert added.parent.name == "32x16-bilinear"
    assert len(read_pack(added).rows) > 0

    def refuse(record, **given):
        raise AssertionError(f"{record} is decoded")

    monkeypatch.setattr("crossreid.data.evaluation_loading.load_image", refuse)
    monkeypatch.setattr(pixel_cache, "load_image", refuse)
    assert [score.to_json() | {"file": ""} for score in crossreid.evaluate(on_disk / "run")] == expected
    crossreid.embed(
        on_disk / "run", f"llcm:{root}", on_disk / "embedded", part="test", precision="float32", workers=0, device="cpu"
    )
    monkeypatch.undo()
    crossreid.embed(plain, f"llcm:{root}", on_disk / "plain", part="test", precision="float32", workers=0, device="cpu")
    rows = [read_embeddings(on_disk / name).embeddings for name in ("embedded", "plain")]
    assert np.array_equal(*rows)
