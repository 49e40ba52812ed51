"""Weights from torch to MindSpore and back, by name, all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mindspore.ops")  # this folder, too, goes by the name of the package alone

import mindspore
import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.mindspore.layers import UnsupportedLayerError, layer_of
from crossreid.mindspore.resnet import network_of
from crossreid.mindspore.weights import build, load_torch, torch_state
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from mindspore_pairs import pair_of, recipe_of


def test_there_and_back_is_bit_for_bit(tmp_path: Path) -> None:
    pair = pair_of(recipe_of(setting="official", backbone={"stage_attention": True}))
    state = {name: value.numpy() for name, value in pair.torch.state_dict().items()}
    back = torch_state(pair.mindspore)
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert (back[name].dtype, back[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(back[name], value, err_msg=name)
    pair.torch.load_state_dict({name: torch.from_numpy(value) for name, value in back.items()}, strict=True)
    learned = {name for name, value in pair.torch.named_parameters() if value.requires_grad}
    assert {parameter.name for parameter in pair.mindspore.trainable_params()} == learned
    mindspore.save_checkpoint(pair.mindspore, str(tmp_path / "net.ckpt"))
    assert mindspore.load_checkpoint(str(tmp_path / "net.ckpt")).keys() == state.keys()


def test_weights_that_do_not_fit_are_named_and_change_nothing() -> None:
    cell = build(recipe_of(), 5)
    before = torch_state(cell)
    shifted = {name: value + 1 for name, value in before.items()}
    first, *_ = shifted
    for given, said in (
        ({n: v for n, v in shifted.items() if n != first}, f"{first} missing"),
        ({**shifted, "other.weight": np.zeros(3)}, "other.weight unknown"),
        ({**shifted, first: np.zeros((1, 2, 3))}, r"found \(1, 2, 3\)"),
    ):
        with pytest.raises(CrossreidError, match=said):
            load_torch(cell, given)
    for name, value in torch_state(cell).items():
        np.testing.assert_array_equal(value, before[name])


def test_building_leaves_torchs_generator_where_it_was() -> None:
    recipe = recipe_of()
    torch.manual_seed(3)
    first, wanted = torch_state(build(recipe, 4)), torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4), wanted)
    torch.manual_seed(3)
    again = torch_state(build(recipe, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_layers_without_a_counterpart_are_named() -> None:
    with pytest.raises(UnsupportedLayerError, match="found Softplus"):
        layer_of(nn.Sequential(nn.Softplus()))


@pytest.mark.parametrize("name", ["seresnet18", "mobilenetv3_small_050", "resnetblur18"])
def test_other_networks_are_refused(name: str) -> None:
    network = Backbone(BackboneOptions(name=name, weights="none", last_stride_one=False)).network
    with pytest.raises(UnsupportedLayerError, match="MindSpore: expected"):
        network_of(network, name)


def test_hooks_and_paddings_without_a_counterpart_are_refused() -> None:
    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda *_: None)
    for layer in (
        hooked,
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.BatchNorm2d(3, affine=False),
        nn.MaxPool2d(2, ceil_mode=True),
    ):
        with pytest.raises(UnsupportedLayerError, match="MindSpore: expected"):
            layer_of(layer)
