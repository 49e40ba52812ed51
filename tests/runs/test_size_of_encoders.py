"""Encoders are built for the size of the images, in the recipe, the run and the exported file; earlier runs stay as they were."""

import numpy as np
import pytest
import torch

from crossreid.data.synthetic import synthesise
from crossreid.inference.exporting.export import export_onnx
from crossreid.methods import build_method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbone_registry import BACKBONES, register_backbone
from crossreid.models.backbones import Backbone
from crossreid.models.cutting import cut
from crossreid.runs.earlier import as_it_was
from crossreid.runs.recipe import RecipeError, make_recipe, recipe_of_run, teacher_recipe
from crossreid.runs.run import open_run
from crossreid.runs.train import train
from small_backbone import build


def sized(name, height=64, width=32, overrides=(), method=None, **backbone):
    encoder = {"name": name, "weights": "none", "last_stride_one": False, **backbone}
    data = {"name": "manifest", "root": "x", "height": height, "width": width}
    return make_recipe({"data": data, "method": {"name": "baseline", "backbone": encoder, **(method or {})}}, overrides)


def test_a_transformer_is_built_for_the_size_of_the_images():
    options = sized("test_vit").method.backbone
    assert options.input_size == (64, 32)
    backbone = Backbone(options)
    assert backbone.network.pos_embed.shape[1] == 4 * 2 + 1
    assert backbone(torch.zeros(1, 3, 64, 32)).shape == (1, backbone.width, 4, 2)
    with pytest.raises(AssertionError):
        backbone(torch.zeros(1, 3, 32, 32))


def test_networks_for_any_size_are_built_for_none():
    assert sized("test_resnet").method.backbone.input_size is None
    assert sized("mambaout_femto").method.backbone.input_size is None


def test_null_keeps_a_transformer_for_any_size():
    options = sized("test_vit", input_size=None).method.backbone
    assert options.input_size is None
    assert Backbone(options)(torch.zeros(1, 3, 32, 48)).shape[2:] == (2, 3)


def test_a_change_of_the_size_or_the_network_builds_for_what_follows():
    given = sized("test_vit").model_dump(mode="json")
    assert make_recipe(given, ["data.height=96"]).method.backbone.input_size == (96, 32)
    assert make_recipe(given, ["method.backbone.name=test_resnet"]).method.backbone.input_size is None
    assert make_recipe(given).model_dump(mode="json") == given
    kept = sized("test_vit", input_size=None).model_dump(mode="json")
    assert make_recipe(kept, ["data.height=96"]).method.backbone.input_size is None


@pytest.mark.parametrize(
    ("name", "height", "width", "said"),
    [
        ("test_vit", 60, 32, "patches are 16 x 16, which do not divide them. Nearest: 64 x 32 or 48 x 32"),
        ("swin_tiny_patch4_window7_224", 66, 32, "patches are 4 x 4, .* Nearest: 64 x 32 or 68 x 32"),
        ("levit_128s", 72, 64, "windows or tables do not fit them. Nearest: 64 x 64 or 96 x 64"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_the_nearest(name, height, width, said):
    with pytest.raises(RecipeError, match=said) as error:
        sized(name, height, width)
    assert "\n" not in str(error.value)
    assert "data.height x data.width" in str(error.value)


def test_another_size_than_the_images_is_refused():
    with pytest.raises(RecipeError, match=r"input_size is \[64, 64\], but images are of 64 x 32 pixels"):
        sized("test_vit", input_size=[64, 64])
    with pytest.raises(RecipeError, match=r"input_size is \[64, 32\], but test_resnet is not built for a fixed size"):
        sized("test_resnet", input_size=[64, 32])


def test_a_network_within_a_method_and_its_teacher_are_built_for_it_too():
    inner = {"name": "baseline", "backbone": {"name": "test_vit", "weights": "none", "last_stride_one": False}}
    method = {"name": "view_distillation", "network": inner}
    given = {"data": {"name": "manifest", "root": "x", "height": 64, "width": 32}, "method": method}
    recipe = make_recipe({**given, "teacher": {"data": {"height": 96}}})
    assert recipe.method.network["backbone"]["input_size"] == [64, 32]
    assert teacher_recipe(recipe).method.network["backbone"]["input_size"] == [96, 32]
    branches = sized("test_vit", method={"name": "variational_distillation"})
    networks = [encoder for encoder in build_method(branches.method, 3).modules() if hasattr(encoder, "built_for")]
    assert len(networks) > 1
    assert {network.built_for for network in networks} == {(64, 32)}


def test_a_network_with_windows_is_cut_and_changed_at_the_size_it_is_built_for():
    assert len(cut(build("maxvit_rmlp_pico_rw_256", input_size=(64, 32), last_stride_one=False), "maxvit").stages) > 3


def test_a_registered_backbone_is_made_for_the_size_if_it_asks(monkeypatch):
    BACKBONES.load()
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    seen = []

    @register_backbone("sized_net")
    def sized_net(input_size=(1, 1)):
        seen.append(input_size)
        return build("test_resnet").network

    options = sized("sized_net").method.backbone
    Backbone(options)
    assert seen == [(64, 32)]
    assert BackboneOptions(name="sized_net").input_size is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("sized") / "world"
    synthesise(root, "manifest", 4, 0, images_per_camera=2, size=(32, 16), workers=1)
    out = root.parent / "run"
    data = {"name": "manifest", "root": str(root), "workers": 0, "sampler": {"identities": 2, "images": 2}}
    backbone = {"name": "test_vit", "weights": "none", "last_stride_one": False}
    recipe = {"data": {**data, "height": 32, "width": 16}, "method": {"name": "baseline", "backbone": backbone}}
    train(make_recipe({**recipe, "training": {"epochs": 1, "accelerator": "cpu"}}), out)
    return out


def test_a_run_keeps_the_size_and_is_exported_at_it(run, tmp_path):
    assert recipe_of_run(run).method.backbone.input_size == (32, 16)
    method = open_run(run).method
    assert any(getattr(part, "built_for", None) == (32, 16) for part in method.modules())
    assert export_onnx(run, tmp_path / "model.onnx").difference < 1e-4


def test_a_run_from_before_the_key_is_built_for_no_size(run):
    given = recipe_of_run(run).model_dump(mode="json")
    del given["method"]["backbone"]["input_size"]
    assert make_recipe(as_it_was(given)).method.backbone.input_size is None
    embedded = build_method(make_recipe(as_it_was(given)).method, 3).eval()
    assert np.isfinite(embedded.embed(torch.zeros(1, 3, 48, 32), torch.zeros(1)).detach().numpy()).all()
