"""Backbones that were changed in place, by what comes out of them."""

import copy
import warnings

import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.models import alterations
from crossreid.models.alterations import ACTIVATIONS, BottleneckAttention
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.channel_affinity import channel_affinity
from small_backbone import IMAGES, build


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "test_resnet",
        "convnext_atto",
        "mobilenetv2_050",
        "mobilenetv3_small_050",
        "densenet121",
        "regnetx_002",
        "test_efficientnet",
        "test_nfnet",
    ],
)
@torch.no_grad()
def test_last_stage_keeps_the_resolution_of_the_one_before(name):
    strided, kept = build(name, last_stride_one=False), build(name)
    assert strided(IMAGES).shape == (2, strided.width, 2, 1)
    assert kept(IMAGES).shape == (2, kept.width, 4, 2)


def test_a_stride_taken_out_of_an_even_kernel_prints_nothing():
    torch.set_warn_always(True)  # else torch says it once a process, to whichever test comes first
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            build("convnext_atto")
    finally:
        torch.set_warn_always(False)
    assert not [str(one.message) for one in said]


@torch.no_grad()
def test_images_show_it_once_of_networks_that_are_built_the_same(monkeypatch):
    passed = []
    tried = alterations.map_size
    monkeypatch.setattr(alterations, "_TAKEN_OUT", set())
    monkeypatch.setattr(alterations, "map_size", lambda network: passed.append(network) or tried(network))
    first, again = build("test_resnet"), build("test_resnet")
    assert len(passed) == 2
    again.load_state_dict(first.state_dict())
    assert torch.equal(first(IMAGES), again(IMAGES))
    build("resnet18")  # of the same class
    assert len(passed) == 4
    for _ in range(2):  # what failed is not known to work
        with pytest.raises(CrossreidError, match="last_stride_one=false"):
            build("test_vit", last_stride_one=True)
    assert len(passed) == 8


def test_stride_one_changes_the_last_stage_alone():
    """What the stages before hand on is untouched: the same weights give the same maps up to there."""
    torch.manual_seed(0)
    strided = build("test_resnet", last_stride_one=False)
    kept = build("test_resnet")
    kept.load_state_dict(strided.state_dict())
    seen = []
    for backbone in (strided, kept):
        backbone.network.layer3.register_forward_hook(lambda *parts: seen.append(parts[-1]))
        backbone(IMAGES)
    torch.testing.assert_close(seen[0], seen[1], atol=0, rtol=0)


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout"])
def test_options_that_cannot_be_applied_are_refused(name):
    with pytest.raises(ValueError, match="last_stride_one=false"):
        build(name, last_stride_one=True)
    with pytest.raises(ValueError, match="stage_attention=false"):
        build(name, last_stride_one=False, stage_attention=True)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_050", "densenet121"])
def test_stage_attention_adds_three_gains_and_starts_as_nothing(name):
    plain, attentive = build(name), build(name, stage_attention=True)
    gains = [key for key in attentive.state_dict() if key.endswith("affinity_gain")]
    assert attentive.state_dict().keys() - set(gains) == plain.state_dict().keys()
    assert len(gains) == 3
    attentive.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(attentive(IMAGES), plain(IMAGES))
    for key in gains:
        attentive.get_parameter(key).fill_(0.5)
    assert not torch.allclose(attentive(IMAGES), plain(IMAGES), rtol=1e-3)


@torch.no_grad()
def test_attention_acts_on_what_stages_two_to_four_take_in():
    backbone = build("test_resnet", stage_attention=True)
    network, given, handed_on = backbone.network, {}, {}
    for number in (1, 2, 3, 4):
        layer = network.get_submodule(f"layer{number}")
        layer.register_forward_pre_hook(lambda _, inputs, n=number: given.__setitem__(n, inputs[0]))
        list(layer.children())[-1].register_forward_hook(lambda *parts, n=number: handed_on.__setitem__(n, parts[-1]))
        if number < 4:
            layer.affinity_gain.fill_(0.1 * number)
    backbone(IMAGES)
    for number in (2, 3, 4):
        expected = channel_affinity(handed_on[number - 1], torch.tensor(0.1 * (number - 1)))
        torch.testing.assert_close(given[number], expected)


@torch.no_grad()
def test_a_copys_gains_are_its_own():
    backbone = build("test_resnet", stage_attention=True)
    copied = copy.deepcopy(backbone)
    before = backbone(IMAGES)
    copied.network.layer1.affinity_gain.fill_(1.0)
    assert torch.equal(backbone(IMAGES), before)
    assert not torch.allclose(copied(IMAGES), before, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet50", {}),
        ("resnet50", {"attention": "bam"}),
        ("densenet121", {"last_stride_one": False}),
        ("mobilenetv2_100", {}),
        ("test_resnet", {}),
    ],
)  # fmt: skip
@torch.no_grad()
def test_the_last_activation_can_be_taken_out(name, options):
    torch.manual_seed(0)
    kept = build(name, **options)
    for module in kept.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # many start at a scale of 0, which hides the activation
            torch.nn.init.normal_(module.bias, std=0.5)
    taken = build(name, last_activation=False, **options)
    taken.load_state_dict(kept.state_dict())
    before, after = kept(IMAGES), taken(IMAGES)
    assert after.min() < 0
    clipped = after.clamp(0, 6) if name.startswith("mobilenet") else after.clamp(min=0)
    torch.testing.assert_close(clipped, before)


def test_a_network_without_a_last_activation_is_refused():
    with pytest.raises(ValueError, match="does not come out of an activation"):
        build("convnext_atto", last_activation=False)


@torch.no_grad()
def test_attention_follows_stages_one_to_three_and_is_kept_by_a_copy():
    torch.manual_seed(0)
    backbone = build("resnet18", attention="bam")
    found = [path for path, module in backbone.named_modules() if isinstance(module, BottleneckAttention)]
    assert found == ["network.layer1.bam", "network.layer2.bam", "network.layer3.bam"]
    twin = copy.deepcopy(backbone)
    for path in found:
        twin.get_submodule(path).channel[-1].bias.add_(3.0)
    assert not torch.allclose(backbone(IMAGES), twin(IMAGES), atol=1e-4)
    plain = build("resnet18")
    assert not plain.load_state_dict(backbone.state_dict(), strict=False).missing_keys
    with pytest.raises(ValueError, match="no sequence of blocks"):
        build("vit_tiny_patch16_224", attention="bam", last_stride_one=False)


@pytest.mark.parametrize("name", ["resnet18", "resnet26t", "mobilenetv2_050", "densenet121"])
def test_the_last_block_can_be_left_without_activations(name):
    """All of the block that the map comes out of, none of any other."""
    stride = {"last_stride_one": False} if name == "densenet121" else {}

    def activations(**given):
        network = Backbone(BackboneOptions(name=name, weights="none", **stride, **given)).network
        return {path for path, module in network.named_modules() if isinstance(module, ACTIVATIONS)}

    every, last = activations(), activations(last_activation=False)
    bare = activations(last_activation=False, bare_last_block=True)
    (path,) = every - last
    assert every - bare == {other for other in every if other.rpartition(".")[0] == path.rpartition(".")[0]}
    assert (bare == last) == (name in ("mobilenetv2_050", "densenet121"))
    with pytest.raises(ValueError, match="last_activation is true"):
        BackboneOptions(bare_last_block=True)
