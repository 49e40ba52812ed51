"""Weights from files: those that fit make a round trip, all others are refused by name."""

import os
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from crossreid.models.weights import WeightsError, load_local_weights
from small_backbone import IMAGES, build


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


@pytest.mark.parametrize("content", [torch.zeros(3), {"model": 3}, {"a": {3: torch.zeros(1)}}, [torch.zeros(1)], {}])
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
        "1 keys unknown": {**state, "layer1.9.weight": torch.zeros(1)},
        "1 shapes that differ": {**state, key: torch.zeros(1, 2, 3, 3)},
    }
    for told, changed in faults.items():
        torch.save(changed, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=told) as error:
            load_local_weights(backbone.network, tmp_path / "w.pth", "test_resnet")
        assert "layer1.9.weight" in str(error.value) or key in str(error.value)
    for name, value in backbone.network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_weights_of_another_architecture_are_refused(tmp_path):
    other = timm.create_model("resnet10t", pretrained=False)
    torch.save(other.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="do not fit the backbone 'test_resnet'"):
        build("test_resnet", weights=str(tmp_path / "w.pth"))
