"""IBN-ResNets, OSNets and torchvision's networks: numbers of the papers and releases, names of public files, and real maps."""

import socket

import pytest
import torch
import torchvision
from torch import nn

from crossreid.data.normalisation import Normalisation
from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions, pixels_of
from crossreid.models.backbone_registry import BACKBONES
from crossreid.models.cutting import cut
from crossreid.models.ibn import IBN
from crossreid.models.loading_notes import noted
from crossreid.models.osnet import ScaleGate
from crossreid.models.weights import WeightsError
from small_backbone import build

IMAGES = torch.randn(2, 3, 128, 64, generator=torch.Generator().manual_seed(0))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# What torchreid prints of each network; it counts the gate that a block's four streams share four times.
PUBLISHED = {"osnet_x1_0": 2_193_616, "osnet_x0_25": 203_568}


@pytest.mark.parametrize("name", PUBLISHED)
def test_osnet_has_as_many_parameters_as_published(name):
    network = build(name, last_stride_one=False).network
    shared = 3 * sum(parameters(part) for part in network.modules() if isinstance(part, ScaleGate))
    behind = nn.Sequential(nn.Linear(network.num_features, 512), nn.BatchNorm1d(512))  # left to the method here
    assert parameters(network) + shared + parameters(behind) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "millions"), [("osnet_x0_75", 1.3), ("osnet_x0_5", 0.6), ("osnet_ain_x1_0", 2.2), ("osnet_ibn_x1_0", 2.2)]
)
def test_osnets_of_other_widths_have_as_many_as_the_papers_say(name, millions):
    network = build(name, last_stride_one=False).network
    assert (parameters(network) + (network.num_features + 3) * 512) / 1e6 == pytest.approx(millions, abs=0.06)


# Names and shapes in torchreid's files, one of each kind.
OSNET_KEYS = {
    "osnet_x1_0": {
        "conv1.conv.weight": (64, 3, 7, 7), "conv1.bn.running_mean": (64,), "conv2.0.conv1.conv.weight": (64, 64, 1, 1),
        "conv2.0.conv2a.conv1.weight": (64, 64, 1, 1), "conv2.0.conv2d.3.conv2.weight": (64, 1, 3, 3),
        "conv2.1.gate.fc1.bias": (4,), "conv2.2.0.conv.weight": (256, 256, 1, 1), "conv3.0.downsample.conv.weight": (384, 256, 1, 1),
        "conv4.1.conv3.bn.weight": (512,), "conv5.conv.weight": (512, 512, 1, 1),
    },
    "osnet_ibn_x1_0": {"conv1.bn.weight": (64,), "conv2.0.IN.weight": (256,), "conv2.1.IN.bias": (256,)},
    "osnet_ain_x1_0": {
        "conv2.0.conv2.3.layers.3.conv1.weight": (64, 64, 1, 1), "conv2.0.IN.weight": (256,), "pool2.0.bn.weight": (256,),
        "conv3.0.conv3.bn.weight": (384,), "conv3.1.IN.weight": (384,), "conv4.0.IN.weight": (512,), "conv4.1.conv3.bn.bias": (512,),
    },
}  # fmt: skip
ABSENT = {
    "osnet_ibn_x1_0": ("conv1.bn.running_mean", "conv3.0.IN.weight"),
    "osnet_ain_x1_0": ("conv2.0.conv3.bn.weight", "conv3.0.IN.weight", "conv4.1.IN.weight", "conv1.bn.running_var"),
}


@pytest.mark.parametrize("name", OSNET_KEYS)
def test_osnets_modules_are_called_as_in_torchreid(name, tmp_path):
    network = build(name, last_stride_one=False).network
    held = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert OSNET_KEYS[name].items() <= held.items()
    assert not set(ABSENT.get(name, ())) & held.keys()
    beside = {"fc.0.weight": torch.zeros(512, 512), "classifier.weight": torch.zeros(751, 512)}
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in {**network.state_dict(), **beside}.items()}},
        tmp_path / "w.pth.tar",
    )
    with noted() as notes:
        build(name, weights=str(tmp_path / "w.pth.tar"), last_stride_one=False)
    assert notes[0].endswith(
        "read behind 'state_dict.module.'; left aside state_dict.module.classifier, state_dict.module.fc"
    )


@torch.no_grad()
def test_osnets_map_is_of_a_sixteenth_and_trains():
    backbone = build("osnet_ain_x0_25")
    assert backbone(IMAGES).shape == (2, 128, 8, 4)
    assert len(cut(backbone, "osnet").stages) == 4
    with pytest.raises(WeightsError, match="has no weights of its own"):
        build("osnet_x0_25", weights="imagenet")


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "alexnet", "squeezenet1_1", "swin_t", "swin_v2_t"])
def test_networks_whose_last_stage_has_no_stride_keep_it_without_being_told(name):
    assert not BackboneOptions(name=name).last_stride_one
    with pytest.raises(CrossreidError, match="last_stride_one=false"):
        build(name, last_stride_one=True)


@pytest.mark.parametrize("name", ["resnet18_ibn_a", "shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"])
def test_the_others_lose_it(name):
    assert BackboneOptions(name=name).last_stride_one
    assert build(name)(IMAGES).shape[2:] == (8, 4)


def names_of_release(depth, kind):
    """The names in a file of the IBN release: torchvision's, with halves in place of one normalisation, or one more."""
    network = torchvision.models.get_model(f"resnet{depth}", weights=None)
    held = {key: tuple(value.shape) for key, value in network.state_dict().items() if not key.startswith("fc.")}
    if kind == "b":
        for key in ("running_mean", "running_var", "num_batches_tracked"):
            del held[f"bn1.{key}"]
        for stage in (1, 2):
            last = max(int(key.split(".")[1]) for key in held if key.startswith(f"layer{stage}."))
            width = {1: 256, 2: 512}[stage] // (1 if depth >= 50 else 4)
            held |= {f"layer{stage}.{last}.IN.{key}": (width,) for key in ("weight", "bias")}
        return held
    for key in [key for key in held if key.startswith(("layer1", "layer2", "layer3")) and ".bn1." in key]:
        shape, (before, what) = held.pop(key), key.rsplit(".", 1)
        half = tuple(size // 2 for size in shape)
        held[f"{before}.BN.{what}"] = half
        if what in ("weight", "bias"):
            held[f"{before}.IN.{what}"] = half
    return held


@pytest.mark.parametrize(("depth", "kind"), [(18, "a"), (18, "b"), (50, "a"), (50, "b")])
def test_ibn_resnets_have_the_names_and_shapes_of_their_release(depth, kind):
    with torch.device("meta"):
        network = BACKBONES[f"resnet{depth}_ibn_{kind}"].owner()
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == names_of_release(depth, kind)


@torch.no_grad()
def test_ibn_a_without_its_halves_is_the_resnet_of_torchvision():
    """The rest of the network is a ResNet: with batch norm alone it gives torchvision's maps."""
    torch.manual_seed(0)
    whole = torchvision.models.resnet18(weights=None).eval()
    network = BACKBONES["resnet18_ibn_a"].owner().eval()
    for path, part in list(network.named_modules()):
        if isinstance(part, IBN):
            parent, _, key = path.rpartition(".")
            setattr(network.get_submodule(parent), key, nn.BatchNorm2d(2 * part.by_image).eval())
    network.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")})
    expected = nn.Sequential(*list(whole.children())[:-2])(IMAGES)
    torch.testing.assert_close(network.forward_features(IMAGES), expected)


@torch.no_grad()
def test_ibn_normalises_half_by_image_and_half_by_batch():
    layer, maps = IBN(6).train(), torch.randn(4, 6, 5, 3) * 3 + 1
    out = layer(maps)
    assert out[:, :3].mean(dim=(2, 3)).abs().max() < 1e-5
    assert out[:, 3:].mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert out[:, 3:].mean(dim=(2, 3)).abs().max() > 1e-2


def test_excited_and_grouped_ibn_networks_have_as_many_parameters_as_their_kin():
    """SE-ResNet-101 has 49.3 M parameters (Hu et al., without biases 49.29), ResNeXt-101 32 x 4d 44.2 M (Xie et al.)."""
    with torch.device("meta"):
        excited, grouped = (BACKBONES[name].owner() for name in ("se_resnet101_ibn_a", "resnext101_ibn_a"))
    assert (parameters(excited) + 2049 * 1000) / 1e6 == pytest.approx(49.3, abs=0.05)
    assert (parameters(grouped) + 2049 * 1000) / 1e6 == pytest.approx(44.2, abs=0.05)
    assert tuple(excited.state_dict()["layer1.0.se.fc.0.weight"].shape) == (16, 256)


@torch.no_grad()
def test_ibn_resnets_take_what_a_resnet_takes():
    backbone = build("resnet18_ibn_b")
    assert backbone(IMAGES).shape == (2, 512, 8, 4)
    assert len(cut(build("resnet18_ibn_a", last_stride_one=False), "ibn").stages) == 5
    assert build("resnet18_ibn_a", non_local=[0, 0, 1, 0], last_activation=False)(IMAGES).shape == (2, 512, 8, 4)


WHOLE = {
    "squeezenet1_1": lambda network, images: network.features(images),
    "shufflenet_v2_x0_5": lambda network, images: network.conv5(
        network.stage4(network.stage3(network.stage2(network.maxpool(network.conv1(images)))))
    ),
    "mnasnet0_5": lambda network, images: network.layers(images),
    "regnet_x_400mf": lambda network, images: network.trunk_output(network.stem(images)),
}


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_torchvisions_networks_load_its_files_and_give_its_maps(name, tmp_path):
    torch.manual_seed(1)
    whole = torchvision.models.get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    with noted() as notes:
        backbone = build(name, weights=str(tmp_path / "w.pth"), last_stride_one=False).eval()
    torch.testing.assert_close(backbone(IMAGES), WHOLE[name](whole, IMAGES))
    assert "left aside" in notes[0]


def test_torchvisions_weights_want_what_torchvision_says():
    assert pixels_of(BackboneOptions(name="shufflenet_v2_x1_0")).interpolation == "bilinear"
    assert pixels_of(BackboneOptions(name="swin_t")).interpolation == "bicubic"
    assert pixels_of(BackboneOptions(name="googlenet")).normalisation == Normalisation((0.5,) * 3, (0.5,) * 3)


def test_torchvisions_weights_that_cannot_be_had_are_one_line(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("crossreid.models.torchvision_backbones.it_answers", lambda _: answers(address))
    from crossreid.models.hub import it_answers as answers

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"could not be fetched by torchvision .*host cannot be reached") as error:
        build("squeezenet1_1", weights="imagenet", last_stride_one=False)
    assert "\n" not in str(error.value)


def test_torchvisions_weights_in_its_cache_are_taken(monkeypatch, tmp_path):
    whole = torchvision.models.get_model("squeezenet1_1", weights=None)
    (tmp_path / "checkpoints").mkdir()
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    torch.save(whole.state_dict(), tmp_path / "checkpoints" / weights.url.rpartition("/")[2])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    backbone = build("squeezenet1_1", weights="imagenet", last_stride_one=False)
    assert torch.equal(backbone.network.features[0].weight, whole.features[0].weight)
