"""Backbones of timm and registered ones: what comes out of them, and names that are none."""

import pytest
import timm
import torch
from torch import nn

from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions, pixels_of
from crossreid.models.backbone_registry import BACKBONES, register_backbone
from crossreid.models.cutting import cut
from crossreid.models.tokens import as_map, patch_grid
from crossreid.models.weights import WeightsError
from small_backbone import IMAGES, build

# Of each kind the smallest that timm has; at 256 x 128, or the nearest size that patches of 14 divide, or the only one.
KINDS = [
    ("vit_tiny_patch16_224", (256, 128), 16),
    ("deit_tiny_distilled_patch16_224", (224, 224), 16),
    ("vit_small_patch14_reg4_dinov2", (252, 126), 14),
    ("eva02_tiny_patch14_224", (252, 126), 14),
    ("swin_tiny_patch4_window7_224", (256, 128), 32),
    ("convnext_atto", (256, 128), 32),
    ("pvt_v2_b0", (256, 128), 32),
    ("vit_tiny_r_s16_p8_224", (256, 128), 32),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "size", "patch"), KINDS, ids=[name for name, *_ in KINDS])
def test_the_map_is_what_timm_gives_on_the_grid_of_patches(name, size, patch):
    """timm's own network of the same weights, as it is without this program."""
    backbone = build(name, last_stride_one=False)
    taken = {"num_classes": 0}
    if name.startswith(("vit", "eva", "swin")):
        taken |= {"dynamic_img_size": True, "global_pool": ""}
    theirs = timm.create_model(name, **taken).eval()
    left = theirs.load_state_dict(backbone.network.state_dict(), strict=False)
    assert not [key for key in left.missing_keys if "head" not in key]
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    ours, features = backbone(images), theirs.forward_features(images)
    assert ours.shape == (1, backbone.width, size[0] // patch, size[1] // patch)
    if features.ndim == 3:
        features = features[:, getattr(theirs, "num_prefix_tokens", None) or 0 :].transpose(1, 2).reshape(ours.shape)
    elif features.shape != ours.shape:
        features = features.permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, features, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_overlapping_patches_and_unknown_grids():
    backbone = build("test_vit")
    assert backbone(torch.randn(2, 3, 64, 48)).shape == (2, backbone.width, 4, 3)
    assert patch_grid(nn.Module(), (64, 32)) is None
    embedding = backbone.network.patch_embed
    embedding.proj.stride = (12, 12)
    assert patch_grid(embedding, (256, 128)) == (21, 10)  # TransReID's grid
    assert as_map(torch.randn(2, 33, 64), backbone.network, (256, 128)).shape == (2, 64, 8, 4), "the image's own shape"
    assert as_map(torch.randn(2, 30, 64), backbone.network, (256, 128)).shape == (2, 64, 29, 1)


def test_the_last_stride_is_kept_by_default_where_there_is_none_to_take_out():
    for name, kept in (("test_resnet", True), ("convnext_atto", True), ("test_vit", False), ("test_mambaout", False)):
        options = BackboneOptions(name=name, weights="none")
        assert options.last_stride_one is kept, name
        assert BackboneOptions.model_validate(options.model_dump()) == options
    with pytest.raises(CrossreidError, match="last_stride_one=false"):
        build("test_vit", last_stride_one=True)
    assert not BackboneOptions(name="crossvit_9_240").last_stride_one  # of two maps an image, and refused later


@torch.no_grad()
def test_maps_with_channels_last_are_turned():
    backbone = build("test_mambaout", last_stride_one=False)
    assert backbone(IMAGES).shape == (2, backbone.width, 2, 1)


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(
        ValueError, match=r"'resnet5O' is neither a timm model nor registered. Similar names: .*resnet50"
    ):
        build("resnet5O")
    with pytest.raises(ValueError, match="nonsense"):
        build("resnet18.nonsense")


def small_net(pretrained=False):
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
    network.forward_features, network.num_features = network.forward, 16
    network.feature_info = [{"module": "1", "num_chs": 8}, {"module": "2", "num_chs": 16}]
    network.pretrained = pretrained
    return network


@pytest.fixture
def registered(monkeypatch):
    """Register backbones that are gone after the test."""
    BACKBONES.load()
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    return register_backbone


def test_a_registered_backbone_is_one_like_any_other(registered):
    registered("small_net")(small_net)
    backbone = build("small_net")
    assert backbone.width == 16
    assert backbone(IMAGES).shape == (2, 16, 32, 16)
    assert backbone.last_stage == ["network.2"]
    assert not backbone.network.pretrained
    assert build("small_net", weights="imagenet").network.pretrained
    assert len(cut(build("small_net", last_stride_one=False), "small_net").stages) == 2


def test_a_registered_backbone_comes_before_timms(registered):
    registered("resnet18")(small_net)
    assert build("resnet18").width == 16


def test_what_a_registered_backbone_lacks_is_named(registered):
    registered("bare")(lambda: nn.Conv2d(3, 8, 3))
    with pytest.raises(CrossreidError, match="lacks forward_features and num_features"):
        build("bare")
    with pytest.raises(WeightsError, match="has no weights of its own"):
        build("bare", weights="imagenet")
    with pytest.raises(
        CrossreidError, match=r"'barre' is neither a timm model nor registered \(bare\)\. Similar names: bare"
    ):
        build("barre")


HALVES = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def wanted(name, weights="imagenet"):
    return pixels_of(BackboneOptions(name=name, weights=weights))


def test_pixels_are_those_that_a_timm_models_weights_were_trained_with():
    assert wanted("tf_efficientnet_lite0") == (HALVES, "bicubic")
    assert wanted("tf_efficientnet_lite0", "some/file.safetensors") == (HALVES, "bicubic")
    assert wanted("resnet50.tv_in1k") == (IMAGENET, "bilinear")
    assert wanted("resnet50.a1_in1k") == (IMAGENET, "bicubic")
    clip = wanted("vit_base_patch16_clip_224.openai").normalisation
    assert clip.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)  # Radford et al., 2021, their released code
    assert clip.std == pytest.approx((0.2686, 0.2613, 0.2758), abs=1e-4)


def test_random_weights_and_unknown_names_want_nothing_of_their_own():
    assert wanted("tf_efficientnet_lite0", "none") == (IMAGENET, "bilinear") == wanted("resnet5O")


def test_a_registered_backbone_says_what_its_weights_want(registered):
    registered("small_net", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="lanczos")(small_net)
    registered("plain_net")(small_net)
    assert wanted("small_net") == (HALVES, "lanczos")
    assert wanted("plain_net") == wanted("small_net", "none") == (IMAGENET, "bilinear")
