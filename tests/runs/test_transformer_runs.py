"""Runs of transformers from the command line to an exported file: what their options say holds on the way."""

import sys
from importlib.util import find_spec

import pytest
import torch
from typer.testing import CliRunner

import crossreid
from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import embed
from crossreid.inference.embedding_model import prepared
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_model import open_model
from crossreid.methods import build_method
from crossreid.runs.recipe import load_recipe, make_recipe
from crossreid.runs.run import open_run
from crossreid.runs.scoring import reading
from crossreid.training.checkpoint import load_checkpoint
from small_model import recipe_of, write_run

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="no peft")  # whose import takes seconds
SIZE = (48, 32)
TRANSFORMER = {"tokens": "class", "patch_stride": 12, "drop_path": 0.1, "side_information": "both"}


def given(root, **training):
    backbone = {"name": "test_vit", "weights": "none", "transformer": TRANSFORMER, "lora": {"rank": 2}}
    data = {"name": "llcm", "root": str(root), "height": SIZE[0], "width": SIZE[1], "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    optimiser = {"name": "adamw", "lr": 1e-2, "layer_decay": 0.8, "decay_vectors": False}
    options = {"accelerator": "cpu", "checkpoint_activations": True, "validate_every": 9, "optimiser": optimiser}
    method = {"name": "transreid", "backbone": backbone, "parts": 2, "shift": 2}
    schedule = {"schedule": {"kind": "constant"}}
    return make_recipe({"data": data, "method": method, "training": {"epochs": 2, **options, **schedule, **training}})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return synthesise(tmp_path_factory.mktemp("runs") / "llcm", "llcm", 6, 0, images_per_camera=1, size=SIZE, workers=1)


@pytest.fixture(scope="module")
def run(world):
    recipe = world.parent / "transformer.yaml"
    recipe.write_text(given(world).as_yaml())
    for epochs in (1, 2):  # stopped after an epoch, and gone on with
        arguments = ["train", str(recipe), "--out", str(world.parent / "run"), "--set", f"training.epochs={epochs}"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    return world.parent / "run"


@pytest.fixture(scope="module")
def opened(run):
    return open_run(run)


def test_a_run_that_was_stopped_is_the_run_that_was_not(world, run, tmp_path):
    crossreid.train(given(world), tmp_path / "whole")
    one, other = (load_checkpoint(folder / "last.safetensors").tensors for folder in (run, tmp_path / "whole"))
    for kind in ("model", "optimiser"):
        assert all(torch.equal(tensor, other[kind][name]) for name, tensor in one[kind].items()), kind


def test_the_training_cameras_are_in_the_recipe_and_their_vectors_learn(world, run, opened):
    cameras = {record.camera for record in opened.split.train}
    assert load_recipe(run / "recipe.yaml").method.backbone.transformer.cameras == tuple(sorted(cameras))
    fresh = given(world).method.with_cameras(cameras)
    torch.manual_seed(0)
    start = build_method(fresh, 2).network.whole.side_information.camera
    moved = (opened.method.network.whole.side_information.camera - start).abs().amax(1)
    assert len(moved) == len(cameras)
    assert (moved > 1e-4).all()


def test_scoring_gives_the_network_the_cameras_and_serving_their_mean(run, opened):
    records = list(opened.split.query[:4])
    read = reading(opened.recipe)
    scored = torch.from_numpy(embed(opened.method, records, **read))
    model = open_model(run, device="cpu")
    images, modalities = prepared(model, records)
    with torch.no_grad():
        known = opened.method.embed(images, modalities, cameras=torch.tensor([record.camera for record in records]))
        unknown = opened.method.embed(images, modalities)
    torch.testing.assert_close(scored, known)
    torch.testing.assert_close(model.embed(images, modalities), unknown, atol=2e-5, rtol=0)
    assert not torch.allclose(known, unknown, atol=1e-3)
    (score, *_) = crossreid.evaluate(run)
    assert 0 < score.mAP <= 1


def test_an_exported_file_needs_no_peft_and_a_run_says_that_it_does(tmp_path, monkeypatch):
    # At the size of its grid of positions, which then are not resampled.
    side = {"side_information": "both", "cameras": [1, 2]}
    network = {"name": "test_vit", "weights": "none", "transformer": side, "lora": {"rank": 2}}
    method = write_run(tmp_path / "run", recipe_of("transreid", network=network, size=(160, 160), parts=2))
    written = export_onnx(tmp_path / "run")
    assert written.difference < 1e-4
    monkeypatch.setitem(sys.modules, "peft", None)
    model = open_model(written.path, device="cpu")
    images = torch.randn(3, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    modalities = torch.tensor([0, 1, 0])
    with torch.no_grad():
        expected = method.embed(images, modalities)
    torch.testing.assert_close(model.embed(images, modalities), expected, atol=1e-4, rtol=0)
    with pytest.raises(CrossreidError, match=r"method\.backbone\.lora needs peft"):
        open_model(tmp_path / "run")


def test_a_frozen_transformer_keeps_its_weights_and_its_head_learns(world, tmp_path):
    recipe = given(world, epochs=1, frozen_epochs=1)
    crossreid.train(recipe, tmp_path / "frozen")
    trained = load_checkpoint(tmp_path / "frozen" / "last.safetensors").tensors["model"]
    torch.manual_seed(recipe.training.seed)
    method = recipe.method.with_cameras(
        load_recipe(tmp_path / "frozen" / "recipe.yaml").method.backbone.transformer.cameras
    )
    start = build_method(method, len(trained["classifiers.0.weight"])).state_dict()
    moved = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, start[name])}
    assert moved == {"necks", "classifiers"}
