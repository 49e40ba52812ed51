"""Backbones by what comes out of them: map sizes, weights that fit and weights that are refused."""

import copy
import os
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from crossreid.models.backbones import (
    Backbone,
    BackboneOptions,
    BottleneckAttention,
    WeightsError,
    load_local_weights,
)
from crossreid.models.channel_affinity import channel_affinity

IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def build(name, **options):
    return Backbone(BackboneOptions(name=name, **{"weights": "none", **options})).eval()


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


@torch.no_grad()
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


@torch.no_grad()
def test_a_transformers_tokens_come_as_a_map_without_the_class_token():
    backbone = build("test_vit", last_stride_one=False)
    assert backbone(torch.randn(2, 3, 64, 48)).shape == (2, backbone.width, 4 * 3, 1)


@torch.no_grad()
def test_maps_with_channels_last_are_turned():
    backbone = build("test_mambaout", last_stride_one=False)
    assert backbone(IMAGES).shape == (2, backbone.width, 2, 1)


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout"])
def test_options_that_cannot_be_applied_are_refused(name):
    with pytest.raises(ValueError, match="last_stride_one=false"):
        build(name)
    with pytest.raises(ValueError, match="stage_attention=false"):
        build(name, last_stride_one=False, stage_attention=True)


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(ValueError, match=r"'resnet5O' is no timm model. Near it: .*resnet50"):
        build("resnet5O")
    with pytest.raises(ValueError, match="nonsense"):
        build("resnet18.nonsense")


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


@pytest.fixture(scope="module")
def trained():
    """A classifier of another library call, head and all, with weights that are nobody's start."""
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return network.eval()


def saved(state, path, kind):
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize(
    ("file", "kind"), [("w.safetensors", "safetensors"), ("w.pth", "plain"), ("w.pth.tar", "wrapped")]
)
@torch.no_grad()
def test_local_weights_make_a_round_trip(trained, tmp_path, file, kind):
    saved(trained.state_dict(), tmp_path / file, kind)
    backbone = build("test_resnet", weights=str(tmp_path / file), last_stride_one=False)
    torch.testing.assert_close(backbone(IMAGES), trained.forward_features(IMAGES), atol=0, rtol=0)


class Bomb:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (str(self.flag),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    flag = tmp_path / "ran"
    torch.save({"layer": Bomb(flag)}, tmp_path / "w.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Bomb(flag)))
    for file in ("w.pth", "bare.pth"):
        with pytest.raises(WeightsError, match="holds tensors only"):
            build("test_resnet", weights=str(tmp_path / file))
    assert not flag.exists()


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_a_corrupt_file_is_refused_by_name(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{file} cannot be read"):
        build("test_resnet", weights=str(tmp_path / file))


def test_a_truncated_file_is_refused(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be read"):
        build("test_resnet", weights=str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"absent.pth not found"):
        build("test_resnet", weights=str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("content", [torch.zeros(3), {"model": 3}, {"a": {"b": torch.zeros(1)}}, [torch.zeros(1)]])
def test_tensors_without_names_are_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no plain state dict"):
        build("test_resnet", weights=str(tmp_path / "w.pth"))


def test_keys_and_shapes_that_do_not_fit_are_named(trained, tmp_path):
    backbone = build("test_resnet")
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    state = trained.state_dict()
    key = "layer1.0.conv1.weight"
    faults = {
        "1 keys missing": {k: v for k, v in state.items() if k != key},
        "1 keys unknown": {**state, "layer9.weight": torch.zeros(1)},
        "1 shapes that differ": {**state, key: torch.zeros(1, 2, 3, 3)},
    }
    for told, changed in faults.items():
        torch.save(changed, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=told) as error:
            load_local_weights(backbone.network, tmp_path / "w.pth", "test_resnet")
        assert "layer9.weight" in str(error.value) or key in str(error.value)
    for name, value in backbone.network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_weights_of_another_architecture_are_refused(tmp_path):
    other = timm.create_model("resnet10t", pretrained=False)
    torch.save(other.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="do not fit the backbone 'test_resnet'"):
        build("test_resnet", weights=str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet34", {}),
        ("resnet50", {}),
        ("resnet101", {}),
        ("resnet50", {"attention": "bam"}),
        ("resnet101", {"attention": "bam"}),
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


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenetv2_100"])
def test_the_last_stage_is_all_that_stages_before_do_not_need(name):
    backbone = build(name, last_stride_one=False)
    rows = backbone.network.feature_info
    row = (rows if isinstance(rows, list) else rows.info)[-2]["module"]
    seen = []
    hook = backbone.network.get_submodule(row).register_forward_hook(lambda *parts: seen.append(parts[-1]))
    backbone(IMAGES)
    for path in backbone.last_stage:
        for parameter in backbone.get_submodule(path).parameters(recurse=False):
            parameter.add_(1.0)
    backbone(IMAGES)
    hook.remove()
    torch.testing.assert_close(seen[0], seen[1])
    assert sum(p.numel() for path in backbone.last_stage
               for p in backbone.get_submodule(path).parameters(recurse=False)) > 100_000  # fmt: skip
