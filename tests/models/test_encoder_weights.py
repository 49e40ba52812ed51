"""Weights of an encoder by the names of a whole backbone, and tables that are resampled, against timm's own way."""

import pytest
import torch
from timm.models import swin_transformer, vision_transformer

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.encoder_weights import as_whole, resampled_to, whole_keys
from crossreid.models.two_stream import StageOptions, TwoStream

TEST = BackboneOptions(name="test_resnet", weights="none")


def test_a_network_of_streams_has_each_name_of_the_whole_one_and_each_origin_its_own_copy():
    whole = Backbone(TEST)
    cut = TwoStream(TEST, StageOptions(stems=1, split=2))
    with torch.no_grad():
        for parameter in cut.parameters():  # the copies are apart from here on
            parameter += torch.randn_like(parameter)
    assert set(whole_keys(cut).values()) == set(whole.state_dict())
    assert whole_keys(cut).keys() == cut.state_dict().keys()
    image, kinds = torch.randn(2, 3, 32, 32), torch.tensor([0, 0])
    for origin, modality, stream in (("shared", 0, 0), ("visible", 0, 1), ("infrared", 1, 1)):
        whole.load_state_dict(as_whole(cut, origin))
        with torch.no_grad():
            expected = cut.eval()(image, kinds + modality)[stream]
            torch.testing.assert_close(whole.eval()(image), expected)


def test_adapters_do_not_hide_the_layer_that_they_are_added_to():
    layer = torch.nn.ModuleDict({"qkv": torch.nn.ModuleDict({"base_layer": torch.nn.Linear(2, 2)})})
    assert whole_keys(layer)["qkv.base_layer.weight"] == "qkv.weight"


@pytest.mark.parametrize("size", [(64, 32), (32, 64)])
def test_tables_are_resampled_as_timm_does(size):
    def swin(size, window):
        return swin_transformer.SwinTransformer(
            img_size=size, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=window, num_classes=0
        )

    def vit(size):
        return vision_transformer.VisionTransformer(
            img_size=size, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=0, reg_tokens=2
        )

    pairs = (
        (swin((32, 32), 4), swin(size, 8), swin_transformer.checkpoint_filter_fn),
        (vit((32, 32)), vit(size), vision_transformer.checkpoint_filter_fn),
    )
    for source, own, by_timm in pairs:
        with torch.no_grad():
            for parameter in source.parameters():
                parameter += torch.randn_like(parameter)
        found, changed = resampled_to(source.state_dict(), source, own)
        expected = by_timm(dict(source.state_dict()), own)
        assert changed
        own.load_state_dict(found)
        for name in changed:
            torch.testing.assert_close(found[name], expected[name])
