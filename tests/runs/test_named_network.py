"""Names of networks that were not trained here: what stands for them where a run's folder is expected."""

import hashlib
from pathlib import Path

import pytest

from crossreid.errors import CrossreidError
from crossreid.runs.named_network import PretrainedNetwork, lasting, pretrained_at, size_of


@pytest.mark.parametrize(
    "network",
    [
        PretrainedNetwork("resnet50"),
        PretrainedNetwork("hf-hub:BVRA/MegaDescriptor-T-224", height=224, width=224, flip=True),
        PretrainedNetwork("resnet50.tv_in1k", "/w, odd=/x,weights=1.pth", 64, 32),
    ],
    ids=lambda network: network.name,
)
def test_its_path_says_all_of_it(network):
    assert pretrained_at(network.path) == network
    assert pretrained_at(str(network.path)) == network
    assert lasting(network.path) == network.path


def test_a_file_of_weights_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.pth").write_bytes(b"tensors")
    network = PretrainedNetwork("resnet50", "w.pth")
    assert network.weights == str(tmp_path / "w.pth")
    digest = hashlib.sha256(b"tensors").hexdigest()
    assert network.facts["sha256"] == digest
    assert str(network) == f"resnet50, weights w.pth, SHA-256 {digest[:12]}"
    assert str(PretrainedNetwork("resnet50")) == "resnet50, weights imagenet"


def test_a_path_is_none_and_a_bare_name_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pretrained_at(Path("runs/backbone:x")) is None
    assert lasting(Path("run")) == tmp_path / "run"
    assert pretrained_at("backbone:resnet50") == PretrainedNetwork("resnet50")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PretrainedNetwork("a,b"), "name of one network"),
        (lambda: PretrainedNetwork("resnet50", "none"), "untrained network"),
        (lambda: pretrained_at("backbone:resnet50,size=1"), "expected backbone:NAME,size="),
        (lambda: size_of("256"), "HEIGHTxWIDTH"),
        (lambda: PretrainedNetwork("resnet50", "/nowhere.pth").facts, "/nowhere.pth not found"),
    ],
)
def test_what_names_none_is_refused(make, message):
    with pytest.raises(CrossreidError, match=message):
        make()
