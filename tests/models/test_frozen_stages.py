"""Which parameters are those of the first stages: what `training.freeze` and `rates` name by stage."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.two_stream import StageOptions, TwoStream
from small_transformers import small_transformers  # noqa: F401

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


@pytest.mark.parametrize("name", ["test_vit3", "small_eva"])
@pytest.mark.usefixtures("small_transformers")
def test_the_blocks_of_a_transformer_are_its_stages_after_its_stem(name):
    """As `method.stages` counts them: stage 0 is the stem, `stage1` the first block, whether the network is cut or not."""
    options = BackboneOptions(name=name, weights="none", last_stride_one=False)
    encoder, parted = Backbone(options), TwoStream(options, StageOptions(stems=2, split=2))
    network = encoder.network
    stem = own(encoder.leading_stages(1))
    assert id(network.pos_embed) in stem
    assert stem >= inside(network.patch_embed)
    depth = len(network.blocks)
    for count in range(1, depth + 1):
        found = own(encoder.leading_stages(count))
        assert found == stem | inside(*network.blocks[: count - 1]), count
        copies = [parted.visible_stem, parted.infrared_stem, parted.common, *parted.streams]
        before = [0, 0, 2, 3, 3]
        kept = [stage for part, at in zip(copies, before, strict=True) for stage in part[: max(count - at, 0)]]
        assert own(parted.leading_stages(count)) == inside(*kept), count
    assert own(encoder.leading_stages(depth + 1)) == inside(encoder), "and what follows the last one"
    assert own(parted.leading_stages(depth + 1)) == inside(parted)
    for either in (encoder, parted):
        assert either.leading_stages(0) == []
        with pytest.raises(CrossreidError, match=f"has {depth + 1} stages, its stem among them"):
            either.leading_stages(depth + 2)


def test_of_two_streams_each_has_its_own():
    encoder = TwoStream(TEST, StageOptions(stems=1, split=2))
    assert own(encoder.leading_stages(1)) == inside(encoder.visible_stem, encoder.infrared_stem)
    assert own(encoder.leading_stages(3)) == inside(encoder.visible_stem, encoder.infrared_stem, encoder.common)
    assert own(encoder.leading_stages(4)) == own(encoder.leading_stages(3)) | inside(*(s[0] for s in encoder.streams))
    assert own(encoder.leading_stages(5)) == inside(encoder)
    with pytest.raises(CrossreidError, match="has 5 stages, its stem among them"):
        encoder.leading_stages(6)
