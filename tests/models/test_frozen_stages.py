"""Which parameters are those of the first stages: what training.frozen_stages keeps."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.two_stream import StageOptions, TwoStream

TEST = BackboneOptions(name="test_resnet", weights="none")


def own(modules):
    return {id(parameter) for module in modules for parameter in module.parameters(recurse=False)}


def inside(*modules):
    return {id(parameter) for module in modules for parameter in module.parameters()}


def test_the_stages_of_a_network_add_up_to_it():
    encoder = Backbone(TEST)
    network = encoder.network
    parts = [network.conv1, network.bn1, network.layer1, network.layer2, network.layer3, network.layer4]
    assert encoder.leading_stages(0) == []
    for count in range(1, 6):
        assert own(encoder.leading_stages(count)) == inside(*parts[: count + 1]), count
    assert own(encoder.leading_stages(5)) == inside(encoder)


def test_a_transformers_positions_belong_to_its_stem():
    encoder = Backbone(BackboneOptions(name="test_vit", weights="none", last_stride_one=False))
    first = own(encoder.leading_stages(1))
    assert id(encoder.network.pos_embed) in first
    assert id(encoder.network.blocks[0].attn.qkv.weight) in first
    assert id(encoder.network.blocks[1].attn.qkv.weight) not in first
    assert own(encoder.leading_stages(len(encoder.network.blocks))) == inside(encoder), "and what follows the last one"


def test_of_two_streams_each_has_its_own():
    encoder = TwoStream(TEST, StageOptions(stems=1, split=2))
    assert own(encoder.leading_stages(1)) == inside(encoder.visible_stem, encoder.infrared_stem)
    assert own(encoder.leading_stages(3)) == inside(encoder.visible_stem, encoder.infrared_stem, encoder.common)
    assert own(encoder.leading_stages(4)) == own(encoder.leading_stages(3)) | inside(*(s[0] for s in encoder.streams))
    assert own(encoder.leading_stages(5)) == inside(encoder)
    with pytest.raises(CrossreidError, match="has 5 stages, its stem among them"):
        encoder.leading_stages(6)
