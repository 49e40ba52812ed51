"""A start between networks whose batch norms, or side information, are of other data sets and cameras."""

import pytest
import torch
from torch import nn

from crossreid.files import write_text
from crossreid.methods import build_method
from crossreid.models.domain_norm import DomainNorm
from crossreid.runs.recipe import make_recipe
from crossreid.runs.source_runs import write_views
from crossreid.runs.starting import start_from_run
from crossreid.training.checkpoint import Checkpoint, save_checkpoint

SIZE = {"height": 32, "width": 16, "workers": 0}


def recipe_of(*sources, norm="all", method="baseline", **more):
    """A recipe on the sources of these names, or on one data set where there are none; no image of them is read."""
    data = {**SIZE, "name": "manifest", "root": "/nowhere/alone"}
    if sources:
        data = [{**SIZE, "name": "manifest", "root": f"/nowhere/{name}", "called": name} for name in sources]
    backbone = {"name": "test_resnet", "weights": "none", **({"domain_norm": norm} if sources else {})}
    if method == "agw":
        backbone["non_local"] = [0, 1, 1, 0]
    return make_recipe({"data": data, "method": {"name": method, "backbone": backbone}, **more})


def method_of(recipe, classes=5, seed=0):
    """The method with every tensor of its batch norms drawn, so that none is another one's."""
    torch.manual_seed(seed)
    method = build_method(recipe.method, classes)
    with torch.no_grad():
        for tensor in method.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return method


def written(folder, recipe):
    method = method_of(recipe, seed=1)
    folder.mkdir(parents=True)
    write_text(folder / "recipe.yaml", recipe.as_yaml())
    write_views(recipe, folder)
    facts = {"recipe": recipe.model_dump(mode="json")}
    save_checkpoint(folder / "last.safetensors", Checkpoint({"model": method.state_dict()}, facts))
    return method


def first_norm(method):
    kinds = (DomainNorm, nn.BatchNorm2d)
    return next(module for encoder in method.encoders for module in encoder.modules() if isinstance(module, kinds))


@pytest.mark.parametrize("method", ["baseline", "agw"])
def test_norms_take_the_statistics_of_the_set_of_their_name_or_the_mean(tmp_path, method):
    theirs = first_norm(written(tmp_path / "run", recipe_of("day", "own", method=method)))
    recipe = recipe_of("own", "night", method=method)
    target = method_of(recipe)
    started = start_from_run(target, recipe, tmp_path / "run")
    for name in ("running_mean", "running_var", "weight", "bias"):
        given, taken = getattr(theirs, name), getattr(first_norm(target), name)
        assert torch.equal(taken[0], given[1]), name
        assert torch.allclose(taken[1], given.mean(0)), name
    assert "batch norm statistics: own those of own, night those of the mean of day, own" in started.text
    assert started.facts["domains"]


@pytest.mark.parametrize(("source", "row"), [("run", None), ("run/sources/day", 0), ("run/sources/own", 1)])
def test_one_set_takes_the_mean_of_several_or_the_statistics_of_the_one_that_is_named(tmp_path, source, row):
    theirs = first_norm(written(tmp_path / "run", recipe_of("day", "own")))
    recipe = recipe_of()
    target = method_of(recipe)
    started = start_from_run(target, recipe, tmp_path / source)
    for name in ("running_mean", "running_var", "weight", "bias"):
        given = getattr(theirs, name)
        assert torch.allclose(getattr(first_norm(target), name), given.mean(0) if row is None else given[row]), name
    assert "left aside" not in started.text
    assert "not in the source" not in started.text


@pytest.mark.parametrize("norm", ["statistics", "all"])
def test_several_sets_each_take_the_statistics_of_one(tmp_path, norm):
    theirs = first_norm(written(tmp_path / "run", recipe_of()))
    recipe = recipe_of("day", "own", norm=norm)
    target = method_of(recipe)
    started = start_from_run(target, recipe, tmp_path / "run")
    for name in ("running_mean", "running_var", "weight", "bias"):
        assert (getattr(first_norm(target), name) == getattr(theirs, name)).all(), name
    assert "left aside" not in started.text


def test_streams_of_several_sets_go_to_whole_encoders_of_one(tmp_path):
    written(tmp_path / "run", recipe_of("day", "own", method="agw"))
    recipe = recipe_of(method="variational_distillation")
    started = start_from_run(method_of(recipe), recipe, tmp_path / "run")
    assert started.facts["encoder"] == "shared"
    assert not [name for name in started.facts["drawn_anew"] if "running" in name and ".backbone." in name]


@pytest.mark.parametrize(
    ("root", "numbers", "taken"), [("one", (1, 2), True), ("one", (1, 3), False), ("other", (1, 2), False)]
)
def test_side_information_of_cameras_is_taken_of_the_same_ones_alone(tmp_path, root, numbers, taken):
    def vit(root, numbers):
        side = {"side_information": "both", "cameras": numbers}
        backbone = {"name": "test_vit", "weights": "none", "transformer": side}
        data = {"name": "manifest", "root": f"/nowhere/{root}", "height": 32, "width": 32, "workers": 0}
        return make_recipe({"data": data, "method": {"name": "baseline", "backbone": backbone}})

    theirs = written(tmp_path / "run", vit("one", (1, 2))).state_dict()
    recipe = vit(root, numbers)
    target = method_of(recipe)
    started = start_from_run(target, recipe, tmp_path / "run")
    name = "encoder.backbone.side_information.camera"
    assert torch.equal(target.state_dict()[name], theirs[name]) is taken
    assert (name in started.text) is not taken
    modality = name.replace("camera", "modality")
    assert torch.equal(target.state_dict()[modality], theirs[modality])


@pytest.mark.parametrize("lora", [{}, {"rank": 3}, {"rank": 2, "alpha": 4.0}])
def test_what_adapters_learnt_is_merged_where_they_are_not_there_alike(tmp_path, lora):
    def vit(lora):
        backbone = {"name": "test_vit", "weights": "none", **({"lora": lora} if lora else {})}
        data = {**SIZE, "name": "manifest", "root": "/nowhere/one", "width": 32}
        return make_recipe({"data": data, "method": {"name": "baseline", "backbone": backbone}})

    theirs = written(tmp_path / "run", vit({"rank": 2}))
    recipe = vit(lora)
    target = build_method(recipe.method, 5)  # whose adapters, freshly drawn, do nothing
    started = start_from_run(target, recipe, tmp_path / "run")
    images, modalities = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    with torch.no_grad():
        expected, found = (method.eval().predict(images, modalities) for method in (theirs, target))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert "left aside" not in started.text


def test_adapters_that_are_there_alike_are_taken(tmp_path):
    backbone = {"name": "test_vit", "weights": "none", "lora": {"rank": 2}}
    data = {**SIZE, "name": "manifest", "root": "/nowhere/one", "width": 32}
    recipe = make_recipe({"data": data, "method": {"name": "baseline", "backbone": backbone}})
    theirs = written(tmp_path / "run", recipe).state_dict()
    target = build_method(recipe.method, 5)
    start_from_run(target, recipe, tmp_path / "run")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in target.state_dict().items())
