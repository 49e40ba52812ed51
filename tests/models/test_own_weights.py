"""A checkpoint of any method and any options as the weights of a plain backbone: what the run's own encoder is in a test."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from crossreid.methods import build_method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.domain_norm import DomainNorm, settle
from crossreid.models.encoder_weights import as_whole
from crossreid.models.loading_notes import noted
from crossreid.runs.recipe import make_recipe
from crossreid.training.checkpoint import FORMAT


def checkpoint(folder, method, backbone):
    """A checkpoint of random weights as training writes one, and the network that it is of."""
    given = {"name": method, "backbone": {"weights": "none", **backbone}}
    recipe = make_recipe({"data": {"name": "manifest", "root": "x", "height": 64, "width": 32}, "method": given})
    torch.manual_seed(0)
    network = build_method(recipe.method, 3).eval()
    state = {}
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
        state[f"model/{key}"] = value.clone()
    facts = {"recipe": recipe.model_dump(mode="json")}
    save_file(state, folder / "last.safetensors", metadata={"format": FORMAT, "facts": json.dumps(facts)})
    return network, folder / "last.safetensors"


def loaded(name, file, size=None):
    with noted() as notes:
        backbone = Backbone(BackboneOptions(name=name, weights=str(file), input_size=size))
    assert len(notes) == 1
    return backbone.state_dict(), notes[0]


@pytest.mark.parametrize("method", ["baseline", "implicit_knowledge"])
def test_adapters_are_added_to_their_layers(method, tmp_path):
    pytest.importorskip("peft")
    network, file = checkpoint(tmp_path, method, {"name": "test_vit", "lora": {"rank": 2, "alpha": 6}})
    found, said = loaded("test_vit", file, (64, 32))
    whole = as_whole(network.encoders[0], "shared")
    for key, value in found.items():
        if not key.endswith("qkv.weight"):
            torch.testing.assert_close(value, whole[key], msg=key)
    second = ("blocks.1.attn.qkv", "common.2.block.attn.qkv")
    layer = next(part for name, part in network.named_modules() if name.endswith(second))
    expected = layer.base_layer.weight + layer.get_delta_weight("default")
    torch.testing.assert_close(found["network.blocks.1.attn.qkv.weight"], expected)
    assert "adapters added to their layers" in said


@pytest.mark.parametrize("method", ["agw", "implicit_knowledge"])
def test_a_transformer_cut_between_blocks_is_put_together_again(method, tmp_path):
    network, file = checkpoint(tmp_path, method, {"name": "test_vit"})
    found, _ = loaded("test_vit", file, (64, 32))
    expected = as_whole(network.encoders[0], "shared")
    assert found.keys() <= expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], msg=key)


@pytest.mark.parametrize("kind", ["statistics", "all"])
@pytest.mark.parametrize("tested_as", ["mean", "b"])
def test_norms_by_domain_become_those_of_a_test(kind, tested_as, tmp_path):
    norm = {"domain_norm": kind, "domains": ["a", "b"], "tested_as": tested_as}
    network, file = checkpoint(tmp_path, "baseline", {"name": "test_resnet", **norm})
    assert any(isinstance(module, DomainNorm) for module in network.modules())
    settled = copy.deepcopy(network)
    settle(settled)
    found, said = loaded("test_resnet", file)
    expected = settled.encoders[0].state_dict()
    for key, value in found.items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[key], msg=key)
    assert "batch norms by domain settled" in said


def test_positions_of_overlapping_patches_lie_on_the_runs_own_grid(tmp_path):
    # 5 x 2 patches and a class token are as many rows as 3 x 3 and two: the recipe says which.
    options = {"patch_stride": 12, "side_information": "camera", "cameras": [1, 2]}
    network, file = checkpoint(tmp_path, "baseline", {"name": "test_vit", "transformer": options})
    found, said = loaded("test_vit", file, (64, 32))
    table = network.encoders[0].state_dict()["network.pos_embed"]
    torch.testing.assert_close(found["network.pos_embed"], resample_abs_pos_embed(table, [4, 2], [5, 2]))
    assert "position embeddings resampled from 5 x 2 to 4 x 2 patches" in said


@pytest.mark.parametrize("method", ["baseline", "transreid"])
def test_positions_of_a_run_at_another_size_are_resampled(method, tmp_path):
    network, file = checkpoint(tmp_path, method, {"name": "test_vit"})
    found, said = loaded("test_vit", file, (96, 48))  # 8 patches and a class token are as many rows as 3 x 3 and none
    table = next(value for key, value in network.state_dict().items() if key.endswith("pos_embed"))
    torch.testing.assert_close(found["network.pos_embed"], resample_abs_pos_embed(table, [6, 3], [4, 2]))
    assert "position embeddings resampled from 4 x 2 to 6 x 3 patches" in said
