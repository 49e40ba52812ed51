"""Fine-tuning: what a run takes from another one, and what it learns after that."""

import pytest
import torch

import crossreid
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import load_recipe, make_recipe, teacher_recipe
from crossreid.runs.starting import start_from_run
from crossreid.training.checkpoint import load_checkpoint
from small_model import recipe_of, trained_method

NETWORK = {"name": "test_resnet", "weights": "none"}
HEADS = ("classifier.",)


def recipe_on(world, **more):
    data = {"name": "manifest", "root": str(world), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2, "epoch": 3}
    return make_recipe({"data": data, "method": {"name": "baseline", "backbone": NETWORK}, **more})


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    place = tmp_path_factory.mktemp("worlds")
    for name, identities in (("one", 6), ("other", 8)):
        synthesise(place / name, "manifest", identities, 3, images_per_camera=2, size=(32, 16), workers=1)
    crossreid.train(recipe_on(place / "one", training={"epochs": 1}), place / "run")
    return place


def weights(run):
    return load_checkpoint(run / "last.safetensors").tensors["model"]


def test_a_run_on_other_identities_starts_from_all_but_their_classifier(worlds, capsys):
    recipe = recipe_on(worlds / "other")
    method = trained_method(recipe, 9)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    said = start_from_run(method, recipe, worlds / "run").text
    source = weights(worlds / "run")
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, before[name] if name.startswith(HEADS) else source[name]), name
    assert "1 newly initialised, for its own identities (classifier.weight)" in said


def test_other_data_with_as_many_identities_has_a_classifier_of_its_own_too(worlds):
    count = len(weights(worlds / "run")["classifier.weight"])
    for world, taken in (("other", False), ("one", True)):
        recipe = recipe_on(worlds / world)
        method = trained_method(recipe, count)
        start_from_run(method, recipe, worlds / "run" / "last.safetensors")
        source = weights(worlds / "run")["classifier.weight"]
        assert torch.equal(method.state_dict()["classifier.weight"], source) is taken


def test_pixels_that_the_weights_did_not_see_are_said(worlds):
    recipe = recipe_on(worlds / "one")
    said = start_from_run(trained_method(recipe, 2), recipe_on(worlds / "other"), worlds / "run").text
    assert "saw" not in said
    seen = recipe.data.model_copy(update={"interpolation": "bicubic", "levels": "picture"})
    other = recipe.model_copy(update={"data": seen.model_copy(update={"root": worlds / "other"})})
    said = start_from_run(trained_method(other, 2), other, worlds / "run").text
    assert "; trained with images of full, now they are picture (data.levels)" in said
    assert "; trained with images of bilinear, now they are bicubic (data.interpolation)" in said


def test_another_network_is_refused_with_what_differs(worlds, tmp_path):
    other = recipe_of("agw", network={"name": "test_efficientnet", "weights": "none", "last_stride_one": False})
    message = r"start_from: .* has no weights for .* and \d+ more of the network .* is test_resnet, the recipe's test_efficientnet"
    with pytest.raises(CrossreidError, match=message):
        start_from_run(trained_method(other), other, worlds / "run")
    recipe = recipe_of("agw")
    with pytest.raises(
        CrossreidError, match=r"start_from: .*none\.safetensors not found\. Expected the folder of a run"
    ):
        start_from_run(trained_method(recipe), recipe, tmp_path / "none.safetensors")
    with pytest.raises(CrossreidError, match="holds no run"):
        start_from_run(trained_method(recipe), recipe, tmp_path)
    alone = recipe.model_copy(update={"start_encoder": "shared"})
    with pytest.raises(CrossreidError, match="start_encoder is shared, but the network to start from has one encoder"):
        start_from_run(trained_method(recipe), alone, worlds / "run")
    with pytest.raises(CrossreidError, match="start_encoder is visible, but start_from names no run"):
        recipe_on(tmp_path, start_encoder="visible")


def test_with_frozen_encoders_the_head_alone_learns_and_then_all(worlds, tmp_path, capsys):
    start = {"start_from": str(worlds / "run")}
    head_only = {"freeze": ["backbone"], "unfreeze_after": 1, "schedule": {"kind": "constant"}}
    source = weights(worlds / "run")
    crossreid.train(recipe_on(worlds / "other", training={"epochs": 1, **head_only}, **start), tmp_path / "run")
    assert "starts from" in capsys.readouterr().out
    learned = weights(tmp_path / "run")
    encoder = [name for name in source if name.startswith("encoder.backbone.")]
    assert all(torch.equal(learned[name], source[name]) for name in encoder)
    assert not torch.equal(learned["encoder.neck.weight"], source["encoder.neck.weight"])
    crossreid.train(recipe_on(worlds / "other", training={"epochs": 2, **head_only}, **start), tmp_path / "run")
    assert "starts from" not in capsys.readouterr().out
    after = weights(tmp_path / "run")
    assert all(not torch.equal(after[name], source[name]) for name in encoder if name.endswith("weight"))


def test_of_two_stages_the_students_start_so(tmp_path):
    data = {"name": "mars", "root": "x", "sets": {"size": 2}, "sampler": {"balance": "none"}}
    method = {"name": "view_distillation", "backbone": NETWORK | {"last_activation": False}, "images": 1}
    given = {"data": data, "method": method, "teacher": {}, "start_from": "run"}
    with pytest.raises(CrossreidError, match=r"start_from, and method\.start is 'teacher': expected one of them"):
        make_recipe(given | {"method": method | {"start": "teacher"}})
    recipe = make_recipe(given)
    assert teacher_recipe(recipe).start_from is None
    of_its_own = make_recipe(given | {"teacher": {"start_from": "other"}})
    assert str(teacher_recipe(of_its_own).start_from) == "other"
    (tmp_path / "x.yaml").write_text(recipe.as_yaml())
    assert load_recipe(tmp_path / "x.yaml").start_from == recipe.start_from
