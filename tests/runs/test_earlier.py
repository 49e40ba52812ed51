"""Runs of earlier versions, whose recipes lack keys, mean what they meant."""

import pytest
import torch
import yaml

from crossreid.data.synthetic import synthesise
from crossreid.methods import METHODS
from crossreid.runs.earlier import as_it_was
from crossreid.runs.recipe import make_recipe, recipe_of_run
from crossreid.runs.train import train
from crossreid.training.checkpoint import CheckpointError, load_checkpoint
from hostile_files import rewrite

LATER = ("triplet_features",)


def without(given, keys=LATER):
    """A mapping less some keys, at any depth."""
    return {k: without(v, keys) if isinstance(v, dict) else v for k, v in given.items() if k not in keys}


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"transreid"}))  # which has had the key from the start
def test_triplets_compare_raw_features_in_recipes_from_before_they_said_what(name):
    method = {"name": name, "backbone": {"name": "test_resnet", "weights": "none"}}
    written = make_recipe({"data": {"name": "manifest", "root": "x"}, "method": method}).model_dump(mode="json")
    assert make_recipe(as_it_was(written)).model_dump(mode="json") == written
    before = without(written, (*LATER, "triplet") if name == "implicit_knowledge" else LATER)
    was = make_recipe(as_it_was(before)).method
    assert getattr(was, "triplet_features", "pooled") == "pooled"
    if name == "implicit_knowledge":
        assert was.triplet == "hard"
    inner = {"name": "view_distillation", "network": before["method"], "backbone": method["backbone"]}
    within = as_it_was({"data": {}, "method": inner})["method"]["network"]
    assert within == make_recipe(as_it_was(before)).model_dump(mode="json")["method"]


def test_what_is_no_recipe_is_returned_as_it_is():
    for given in (None, 5, [1], {"data": 5, "method": [1]}, {}):
        assert as_it_was(given) == given


def test_a_run_that_began_before_triplets_said_what_they_compare_goes_on_with_what_it_did(tmp_path):
    synthesise(tmp_path / "world", "manifest", 4, 0, images_per_camera=2, size=(32, 16), workers=1)
    data = {"name": "manifest", "root": str(tmp_path / "world"), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    method = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    given = {"data": data, "method": method, "training": {"epochs": 1, "validate_every": 5}}
    before = ["method.triplet_features=pooled"]
    more, begun = "training.epochs=2", tmp_path / "begun"
    train(make_recipe(given, [*before, more]), tmp_path / "whole")
    train(make_recipe(given, before), begun)
    last = begun / "last.safetensors"
    rewrite(last, facts={"recipe": without(load_checkpoint(last).facts["recipe"])}, hashed=False)
    text = yaml.safe_load((begun / "recipe.yaml").read_text())
    (begun / "recipe.yaml").write_text(yaml.safe_dump(without(text)))
    assert recipe_of_run(begun).method.triplet_features == "pooled"
    with pytest.raises(
        CheckpointError,
        match=r"triplet_features was 'pooled', is 'neck'.*as it began with --set method\.triplet_features=pooled",
    ):
        train(make_recipe(given, [more]), begun)
    train(make_recipe(given, [*before, more]), begun)
    one, other = (load_checkpoint(out / "last.safetensors").tensors["model"] for out in (begun, tmp_path / "whole"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_run_that_began_when_parts_were_frozen_by_number_goes_on_with_what_it_did(tmp_path):
    synthesise(tmp_path / "world", "manifest", 4, 0, images_per_camera=2, size=(32, 16), workers=1)
    data = {"name": "manifest", "root": str(tmp_path / "world"), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    method = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    before = {"frozen_stages": 1, "frozen_epochs": 1, "optimiser": {"new_layers_factor": 10.0}}
    given = {"data": data, "method": method, "training": {"epochs": 1, "validate_every": 5, **before}}
    more = make_recipe(given, ["training.epochs=2"])
    assert more.training.freeze == ("stem", "backbone")
    train(more, tmp_path / "whole")
    train(make_recipe(given), tmp_path / "begun")
    last = tmp_path / "begun" / "last.safetensors"
    facts = load_checkpoint(last).facts
    stored = without(facts["recipe"], ("freeze", "unfreeze_after", "rates"))
    stored["training"] |= {"frozen_stages": 1, "frozen_epochs": 1}
    stored["training"]["optimiser"] |= {"new_layers_factor": 10.0}
    groups = [without(group, ("factor", "positions")) for group in facts["groups"]]
    rewrite(last, facts={"recipe": stored, "groups": groups}, hashed=False)
    with pytest.raises(CheckpointError, match=r"--continue-with training\.optimiser\.rates\.heads=3"):
        train(make_recipe(more.model_dump(mode="json"), ["training.optimiser.rates={heads: 3.0}"]), tmp_path / "begun")
    train(more, tmp_path / "begun")
    one, other = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "begun"))
    assert one.facts["groups"] == other.facts["groups"]
    assert all(torch.equal(tensor, other.tensors["model"][name]) for name, tensor in one.tensors["model"].items())
    train(
        make_recipe(given, ["training.epochs=3"]),
        tmp_path / "begun",
        continue_with=["training.optimiser.new_layers_factor=2.0"],
    )
    changes = {(c["key"], c["now"]) for c in load_checkpoint(last).facts["changes"]}
    assert ("training.optimiser.rates.heads", 2.0) in changes
