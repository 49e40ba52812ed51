"""Attention rollout against its definition, followed block by block from timm's own weights."""

import numpy as np
import pytest
import torch
from torch import nn

from crossreid.analysis.grad_cam import encoder_title
from crossreid.analysis.rollout import attention_maps, has_rollout, map_kinds, rolled_out, rollout
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.methods import METHODS, build_method
from small_transformers import small_transformers  # noqa: F401

HEIGHT, WIDTH = 64, 32


def method_of(method="baseline", name="test_vit", tokens="mean", **given):
    torch.manual_seed(0)
    backbone = {"name": name, "weights": "none", "last_stride_one": name == "test_resnet"}
    backbone["transformer"] = {"tokens": tokens}
    options = METHODS[method].options(**{"name": method, "backbone": backbone, **given})
    return build_method(options, 4).eval()


def image_of():
    return torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def followed(network, image):
    """R of a ViT `(N, N)`, by softmax(q k / sqrt(d)) of each block, written out with loops over heads."""
    tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(image[None]))))
    total = np.eye(tokens.shape[1])
    for block in network.blocks:
        attention, normed = block.attn, block.norm1(tokens)
        width = normed.shape[2]
        per_head = width // attention.num_heads
        q, k, _ = attention.qkv(normed)[0].split(width, dim=1)
        mean = np.zeros_like(total)
        for head in range(attention.num_heads):
            own = slice(head * per_head, (head + 1) * per_head)
            q_head, k_head = attention.q_norm(q[:, own]), attention.k_norm(k[:, own])
            scores = (q_head @ k_head.T / per_head**0.5).double().numpy()
            shares = np.exp(scores - scores.max(1, keepdims=True))
            mean += shares / shares.sum(1, keepdims=True) / attention.num_heads
        total = (0.5 * mean + 0.5 * np.eye(len(mean))) @ total
        tokens = block(tokens)
    return total


def test_the_map_is_that_of_the_definition():
    method, image = method_of(), image_of()
    network = method.encoders[0].network
    with torch.no_grad():
        for block in network.blocks:  # sharp attention, unlike that of fresh weights
            block.attn.qkv.weight.mul_(12)
    total = followed(network, image)
    prefix = network.num_prefix_tokens
    expected = total[prefix:, prefix:].mean(0).reshape(4, 2)
    (found,) = rollout(method, image, int(VISIBLE), np.ones(method.encoders[0].width))
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(found.heat, expected, atol=1e-5)
    assert (found.kind, found.encoder) == ("rollout", "encoder.backbone")
    with torch.no_grad():
        embedding = method.embed(image[None], torch.zeros(1, dtype=torch.long))[0]
    assert found.similarity == pytest.approx(float(embedding.mean() * len(embedding) ** 0.5), abs=1e-5)


@pytest.mark.parametrize("tokens", ["class", "gem"])
@pytest.mark.parametrize("method", ["baseline", "transreid"])
def test_the_map_is_of_the_tokens_that_the_embedding_is_made_of(method, tokens):
    """The class token's row where it is the embedding; of a jigsaw of patches what its global feature is made of."""
    made, image = method_of(method, tokens=tokens), image_of()
    network = getattr(made.encoders[0], "whole", made.encoders[0]).network
    with torch.no_grad():
        for block in network.blocks:
            block.attn.qkv.weight.mul_(12)
    total, prefix = followed(network, image), network.num_prefix_tokens
    rows = total[:1] if tokens == "class" else total[prefix:]
    width = made.embed(image[None], torch.zeros(1, dtype=torch.long)).shape[1]
    (found,) = rollout(made, image, int(VISIBLE), np.ones(width))
    np.testing.assert_allclose(found.heat, rows[:, prefix:].mean(0).reshape(4, 2), atol=1e-5)


def test_rows_are_shares_and_blocks_that_look_at_themselves_change_nothing():
    attention = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(2)
    total = rolled_out([attention, attention])
    torch.testing.assert_close(total.sum(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(rolled_out([torch.eye(5).expand(2, 5, 5)] * 3), torch.eye(5, dtype=torch.float64))


def test_the_method_computes_as_before():
    method = method_of().train()
    attention = [module for module in method.modules() if hasattr(module, "fused_attn")]
    was = [module.fused_attn for module in attention]
    with torch.inference_mode():
        rollout(method, image_of(), int(VISIBLE), np.ones(method.encoders[0].width))
    assert [module.fused_attn for module in attention] == was
    assert any(was)
    assert method.training
    assert not any(module._forward_hooks for module in method.modules())


@pytest.mark.parametrize(("method", "given", "titles"), [
    ("agw", {"stages": {"stems": 2}}, ["encoder"]),
    ("implicit_knowledge", {"test_features": "both", "stages": {"stems": 1, "split": 3}}, ["shared", "specific"]),
    ("variational_distillation", {}, ["infrared", "shared"]),
])  # fmt: skip
def test_streams_and_branches_have_a_map_each(method, given, titles):
    made = method_of(method, **given)
    width = made.embed(image_of()[None], torch.ones(1, dtype=torch.long)).shape[1]
    found = rollout(made, image_of(), int(INFRARED), np.ones(width))
    assert [encoder_title(one.encoder) for one in found] == titles
    for one in found:
        assert one.heat.shape == (4, 2)
        assert 0.5 < one.heat.sum() < 1  # a part of every row goes to the class token


def test_all_copies_of_a_cut_network_roll_out_as_the_whole_one():
    """At the start both streams are the whole network, so their maps are its own."""
    whole = method_of()
    (expected,) = rollout(whole, image_of(), int(VISIBLE), np.ones(64))
    for stream in rollout(
        method_of("implicit_knowledge", test_features="both"), image_of(), int(VISIBLE), np.ones(128)
    ):
        np.testing.assert_allclose(stream.heat, expected.heat, atol=1e-6)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch14_reg4_dinov2"])
def test_rotary_positions_and_registers(name):
    method = method_of(name=name)
    image = torch.randn(3, 56, 28)
    (found,) = rollout(method, image, int(VISIBLE), np.ones(method.encoders[0].width))
    assert found.heat.shape == (4, 2)


@pytest.mark.usefixtures("small_transformers")
@pytest.mark.parametrize("name", ["small_swin", "test_resnet"])
def test_windows_and_convolutions_keep_grad_cam(name):
    method = method_of(name=name)
    direction = np.ones(method.encoders[0].width)
    assert not has_rollout(method)
    with pytest.raises(DataError, match=r"whole image.* Use grad-cam"):
        rollout(method, image_of(), int(VISIBLE), direction)
    (found,) = attention_maps(method, image_of(), int(VISIBLE), direction, "rollout")
    assert found.kind == "grad-cam"


def test_kinds_by_name():
    assert map_kinds("rollout") == ("rollout",)
    assert map_kinds("both") == ("grad-cam", "rollout")
    with pytest.raises(DataError, match="'gradcam': expected grad-cam, rollout or both"):
        map_kinds("gradcam")


def test_a_network_without_encoders_has_none():
    class Plain(nn.Module):
        encoders = ()

    assert not has_rollout(Plain())
