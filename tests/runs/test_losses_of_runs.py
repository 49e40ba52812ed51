"""Added losses, margin heads and MixStyle in real runs: killed and gone on with, in two processes, started from, opened, exported."""

import json

import pytest
import torch

import crossreid
import loss_run
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_model import open_model
from crossreid.methods.baseline import Baseline
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_run
from crossreid.training.checkpoint import load_checkpoint
from forked import Forked, ran_together

LOSSES = {
    "circle": 0.02,
    "hetero_centre": 0.5,
    "centre": {"weight": 0.01, "rate": 0.3},
    "cross_batch_memory": {"size": 32, "start": 2},
}
METHOD = {
    "name": "baseline",
    "backbone": {"name": "test_resnet", "weights": "none", "mixstyle": {"stages": [1, 2], "across": True}},
    "head": {"name": "arcface", "scale": 16.0},
    "losses": LOSSES,
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    place = tmp_path_factory.mktemp("worlds")
    for name, identities in (("one", 6), ("other", 8)):
        synthesise(place / name, "manifest", identities, 3, images_per_camera=2, size=(32, 16), workers=1)
    return place


def recipe_on(world, *, workers=0, method=METHOD, epochs=2, **more):
    data = {"name": "manifest", "root": str(world), "height": 32, "width": 16, "workers": workers}
    data["sampler"] = {"identities": 2, "images": 2, "epoch": 4}
    training = {"epochs": epochs, "checkpoint_steps": 1, "accelerator": "cpu", "validate_every": 5}
    return make_recipe({"data": data, "method": method, "training": training, **more})


@pytest.fixture(scope="module")
def whole(worlds):
    crossreid.train(recipe_on(worlds / "one"), worlds / "whole")
    return worlds / "whole"


def tensors(run):
    return load_checkpoint(run / "last.safetensors").tensors


def same(one, other):
    """Whether two checkpoints hold the same bits, generators and optimiser among them."""
    return one.keys() == other.keys() and all(
        one[kind].keys() == other[kind].keys() and all(torch.equal(t, other[kind][n]) for n, t in one[kind].items())
        for kind in one
    )


def terms(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["losses"] for row in rows if "losses" in row]


def test_every_loss_is_a_term_and_what_it_remembers_lies_in_the_checkpoint(whole):
    assert all(set(row) == {"identity", "triplet", *LOSSES} for row in terms(whole))
    model = tensors(whole)["model"]
    assert model["added_losses.cross_batch_memory.steps"] == len(terms(whole))
    assert (model["added_losses.cross_batch_memory.memory_labels"] >= 0).any()
    assert model["added_losses.centre.seen"].any()
    assert (model["added_losses.cross_batch_memory.memory"].norm(dim=1) > 0.99).any()


def test_a_run_that_dies_in_an_epoch_goes_on_to_the_same_bits(worlds, whole, tmp_path, monkeypatch):
    steps = len(terms(whole))
    usual, calls = Baseline.losses, []

    def dying(self, batch):
        calls.append(1)
        if len(calls) > steps // 2 + 1:
            raise MemoryError
        return usual(self, batch)

    monkeypatch.setattr(Baseline, "losses", dying)
    with pytest.raises(MemoryError):
        crossreid.train(recipe_on(worlds / "one"), tmp_path / "died")
    monkeypatch.setattr(Baseline, "losses", usual)
    assert 0 < load_checkpoint(tmp_path / "died" / "last.safetensors").facts["step"] < steps
    crossreid.train(recipe_on(worlds / "one"), tmp_path / "died")
    assert same(tensors(whole), tensors(tmp_path / "died"))


@pytest.mark.slow
def test_the_number_of_loading_processes_changes_no_style_and_no_loss(worlds, whole, tmp_path):
    crossreid.train(recipe_on(worlds / "one", workers=2), tmp_path / "loaded")
    assert same(tensors(whole), tensors(tmp_path / "loaded"))


def test_a_run_starts_from_another_without_what_its_losses_remember(worlds, whole, tmp_path, capsys):
    source = tensors(whole)["model"]
    for losses, world in (({"triplet": 1.0}, "one"), ({"cross_batch_memory": {"size": 8}}, "other")):
        out = tmp_path / world
        method = METHOD | {"losses": losses}
        started = {"start_from": str(whole)}
        frozen = recipe_on(worlds / world, method=method, epochs=1, **started)
        crossreid.train(frozen, out)
        said = capsys.readouterr().out
        assert "starts from" in said
        kept = len([name for name in source if not name.startswith("added_losses.")])
        assert f"{kept - (world == 'other')} tensors taken" in said
        assert ("1 newly initialised" in said) is (world == "other")
    assert tensors(tmp_path / "other")["model"]["added_losses.cross_batch_memory.steps"] == len(
        terms(tmp_path / "other")
    )


def test_a_run_is_opened_and_exported_as_any_other(whole):
    method = open_run(whole).method.eval()
    images, modalities = torch.randn(4, 3, 32, 16), torch.tensor([0, 1, 0, 1])
    features, logits = method.predict(images, modalities)
    cosines = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(method.classifier.weight).T
    torch.testing.assert_close(logits, 16.0 * cosines)
    written = export_onnx(whole)
    assert written.difference <= 1e-4
    plain = open_model(whole, device="cpu").fingerprint
    assert open_model(written.path, device="cpu").fingerprint == plain


def test_a_recipe_with_a_state_that_the_checkpoint_lacks_is_refused_on_going_on(worlds, whole):
    other = recipe_on(worlds / "one", method=METHOD | {"losses": LOSSES | {"circle": 0.5}})
    with pytest.raises(CrossreidError, match=r"method\.losses\.circle was 0\.02, is 0\.5"):
        crossreid.train(other, whole)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    assert Forked(loss_run.main, tmp_path / "one").wait(120) == 0
    ran_together(2, loss_run.main, tmp_path / "two", folder=tmp_path)
    one, two = tensors(tmp_path / "one")["model"], tensors(tmp_path / "two")["model"]
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, two[name], atol=1e-5, rtol=1e-4, msg=lambda said, name=name: f"{name}: {said}"
        )
    for ours, theirs in zip(terms(tmp_path / "one"), terms(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
