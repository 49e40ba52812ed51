"""The jigsaw patch module against its definition."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.jigsaw import JigsawBackbone, jigsaw_order
from crossreid.models.resets import reset_paths
from small_backbone import IMAGES


def network(name="test_vit", *, shift=3, shuffle_groups=2, parts=2, **transformer):
    torch.manual_seed(0)
    options = BackboneOptions(
        name=name, weights="none", last_stride_one=False, transformer={"tokens": "class", **transformer}
    )
    return JigsawBackbone(options, shift=shift, shuffle_groups=shuffle_groups, parts=parts).eval()


def slow_order(patches, shift, groups):
    """Patches z_1 ... z_N as a list: the first m to the end, then dealt out like cards from equal stacks in turn."""
    row = list(range(patches))
    for _ in range(shift):
        row.append(row.pop(0))
    stacks = [row[i * patches // groups : (i + 1) * patches // groups] for i in range(groups)]
    return [stack[place] for place in range(patches // groups) for stack in stacks]


@given(groups=st.integers(1, 5), length=st.integers(1, 12), shift=st.integers(0, 9))
def test_patches_are_shifted_and_dealt_out_between_groups(groups, length, shift):
    patches = groups * length
    assert jigsaw_order(patches, shift=shift % patches, groups=groups).tolist() == slow_order(
        patches, shift % patches, groups
    )


@given(patches=st.integers(1, 60), groups=st.integers(1, 7), shift=st.integers(0, 9))
def test_every_patch_is_there_once(patches, groups, shift):
    assert sorted(jigsaw_order(patches, shift=shift, groups=groups).tolist()) == list(range(patches))


def test_the_papers_example_by_hand():
    # 8 patches, m = 2: 2 3 4 5 | 6 7 0 1, dealt out in turn.
    assert jigsaw_order(8, shift=2, groups=2).tolist() == [2, 6, 3, 7, 4, 0, 5, 1]


@torch.no_grad()
def test_global_and_local_features_are_those_of_the_equations():
    jigsaw = network(parts=2)
    own = jigsaw.whole.network
    for parameter in jigsaw.block.parameters():
        parameter.add_(0.01)  # as training does, from which on it is another block
    tokens = own.patch_embed(IMAGES)
    tokens = own.norm_pre(own._pos_embed(tokens))
    for block in own.blocks[:-1]:
        tokens = block(tokens)
    head, patches = tokens[:, :1], tokens[:, 1:]
    assert patches.shape[1] == 8
    expected = [own.norm(own.blocks[-1](tokens))[:, 0]]
    order = slow_order(8, 3, 2)
    parts = (torch.cat([head, patches[:, part]], 1) for part in (order[:4], order[4:]))
    expected += [jigsaw.norm(jigsaw.block(part))[:, 0] for part in parts]
    for found, wanted in zip(jigsaw(IMAGES), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("tokens", ["class", "mean", "gem"])
def test_one_part_of_all_patches_is_the_global_feature_in_any_order(name, tokens):
    """Attention does not see an order that positions, or rotations, follow; so those must follow it."""
    images = torch.randn(2, 3, 56, 42, generator=torch.Generator().manual_seed(1)) if "14" in name else IMAGES
    whole, local = network(name, parts=1, tokens=tokens)(images)
    torch.testing.assert_close(local, whole, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_parts_it_is_the_backbone():
    jigsaw = network(parts=0)
    (whole,) = jigsaw(IMAGES)
    torch.testing.assert_close(whole, jigsaw.whole(IMAGES)[:, :, 0, 0])
    assert not hasattr(jigsaw, "block")


def test_what_is_reset_is_the_last_block_and_its_copy():
    reset = reset_paths(network(), "stage")
    assert {"whole.network.blocks.5", "whole.network.norm", "block", "norm"} <= set(reset)
    assert "whole.network.blocks.4" not in reset


def test_the_local_block_starts_as_a_copy_and_learns_by_itself():
    jigsaw = network()
    before = copy.deepcopy(jigsaw.block.state_dict())
    last = jigsaw.whole.network.blocks[-1].state_dict()
    assert all(torch.equal(value, last[key]) for key, value in before.items())
    with torch.inference_mode():
        jigsaw(IMAGES)  # after which it can be trained all the same
    features = jigsaw(IMAGES)
    features[0].square().sum().backward()
    assert all(parameter.grad is None for parameter in jigsaw.block.parameters())
    jigsaw(IMAGES)[1].square().sum().backward()
    assert all(parameter.grad is not None for parameter in jigsaw.block.parameters())
    with pytest.raises(CrossreidError, match="'test_resnet' is none that can be taken apart"):
        network("test_resnet", tokens="mean")


def test_fewer_patches_than_parts_are_refused_with_the_first_images_or_before():
    few = network(parts=3)
    with torch.no_grad():
        assert len(few(torch.randn(2, 3, 48, 16))) == 4
        with pytest.raises(CrossreidError, match=r"method\.parts is 3, but the images have 2 patches"):
            few(torch.randn(2, 3, 32, 16))
    options = BackboneOptions(name="vit_tiny_patch16_224", weights="none", last_stride_one=False, input_size=(32, 16))
    with pytest.raises(CrossreidError, match=r"method\.parts is 3, but the images have 2 patches"):
        JigsawBackbone(options, shift=0, shuffle_groups=1, parts=3)
