"""Overlapping patches, what stands for an image, and drop path."""

import pytest
import timm
import torch
from torch.nn import functional as F

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.patches import overlap_patches
from crossreid.models.pooling import generalised_mean
from crossreid.models.tokens import patch_grid
from crossreid.models.two_stream import StageOptions, TwoStream
from small_backbone import IMAGES, build


def of(name="test_vit", **transformer):
    torch.manual_seed(0)
    return build(name, last_stride_one=False, transformer=transformer)


@torch.no_grad()
def test_patches_overlap_by_what_the_stride_leaves():
    network = of(patch_stride=12).network
    assert patch_grid(network.patch_embed, (256, 128)) == (21, 10)  # floor((256 + 12 - 16) / 12), as the paper counts
    found = network.patch_embed(IMAGES)
    rows = IMAGES.unfold(2, 16, 12).unfold(3, 16, 12)  # (B, 3, h, w, 16, 16)
    weight, bias = network.patch_embed.proj.weight, network.patch_embed.proj.bias
    expected = torch.einsum("bchwij,ocij->bhwo", rows, weight) + bias
    torch.testing.assert_close(found, network.patch_embed.norm(expected), atol=1e-5, rtol=1e-5)
    assert of(patch_stride=12)(IMAGES).flatten(2).shape == (2, 64, 5 * 2)
    assert torch.equal(of(patch_stride=16)(IMAGES), of()(IMAGES))


@torch.no_grad()
def test_a_network_of_a_fixed_size_gets_a_grid_of_its_patches():
    torch.manual_seed(0)
    fixed = timm.create_model("test_vit", num_classes=0, img_size=(64, 32), dynamic_img_size=False).eval()
    torch.manual_seed(0)
    free = timm.create_model("test_vit", num_classes=0, img_size=(64, 32), dynamic_img_size=True).eval()
    for network in (fixed, free):
        overlap_patches(network, "test_vit", 12)
    assert fixed.pos_embed.shape[1] == 1 + 5 * 2
    torch.testing.assert_close(fixed(IMAGES), free(IMAGES))


def test_what_has_no_such_patches_says_so():
    with pytest.raises(CrossreidError, match="patches of backbone 'test_vit' are 16 x 16 pixels; expected at most 16"):
        of(patch_stride=17)
    with pytest.raises(CrossreidError, match="'test_resnet' is no vision transformer with one grid of patches"):
        of("test_resnet", patch_stride=12)
    with pytest.raises(CrossreidError, match="'test_vit3' has no class token"):
        of("test_vit3", tokens="class")
    with pytest.raises(CrossreidError, match="tokens is gem, but streams and stems give whole maps"):
        TwoStream(
            BackboneOptions(name="test_resnet", weights="none", transformer={"tokens": "gem"}), StageOptions(stems=1)
        )


@torch.no_grad()
def test_the_class_token_or_a_generalised_mean_stands_for_the_image():
    mean = of()
    tokens = mean.network.forward_features(IMAGES)
    assert torch.equal(of(tokens="class")(IMAGES), tokens[:, 0, :, None, None])
    gem = of(tokens="gem", gem_power=4)
    expected = generalised_mean(tokens[:, 1:].transpose(1, 2)[..., None], 4.0)
    torch.testing.assert_close(gem(IMAGES), expected[..., None, None])
    assert gem.pooling.p.requires_grad
    assert not of(tokens="gem", learn_gem=False).pooling.p.requires_grad
    assert of("test_resnet", tokens="gem")(IMAGES).shape[2:] == (1, 1)


def test_paths_are_dropped_more_often_the_later_the_block():
    blocks = of(drop_path=0.2).network.blocks
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx(torch.linspace(0, 0.2, len(blocks)).tolist())
    torch.manual_seed(0)
    network = of(drop_path=0.5).train()
    assert not torch.equal(network(IMAGES), network(IMAGES))
    assert F.mse_loss(network.eval()(IMAGES), network(IMAGES)) == 0
    assert of("convnext_atto", drop_path=0.1)(IMAGES).shape[1] == 320
