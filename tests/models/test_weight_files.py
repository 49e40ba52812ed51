"""Files of weights of many kinds are read as tensors by path, and none of them runs anything."""

import argparse
import builtins
import collections
import os
import pickle
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from crossreid.data.synthetic import synthesise
from crossreid.models.backbone_options import BackboneOptions, pixels_of
from crossreid.models.loading_notes import noted
from crossreid.models.weight_files import WeightsError, read_state
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_run
from crossreid.runs.train import train
from small_backbone import IMAGES, build

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def check(path, prefix=""):
    found = read_state(path)
    assert found.keys() == {prefix + key for key in STATE}
    for key, value in STATE.items():
        assert torch.equal(found[prefix + key], value)


class Settings(dict):
    """A mapping of somebody's own, as configurations are."""


BESIDE = {
    "args": argparse.Namespace(lr=1e-3, name="x"),
    "best": np.float64(0.9),
    "rank1": np.float32(0.9),
    "epoch": np.int64(3),
    "history": np.arange(3),
    "config": Settings(lr=1e-3, inner={"a": [1, 2]}),
    "plain": [1, 2.5, "x", None, True, (3, 4), {"a"}, 1 << 80],
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]},
    "counter": collections.Counter("aab"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("beside", BESIDE)
def test_plain_values_may_lie_beside_the_weights(tmp_path, beside, zipped):
    held = {"state_dict": collections.OrderedDict(STATE), beside: BESIDE[beside]}
    torch.save(held, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "w.pth", "state_dict.")


def test_all_of_them_at_once(tmp_path):
    torch.save({"model": STATE, **{key: value for key, value in BESIDE.items() if key != "config"}}, tmp_path / "w.pth")
    check(tmp_path / "w.pth", "model.")


def test_a_class_that_is_nowhere_to_be_imported_is_no_hindrance(tmp_path, monkeypatch):
    elsewhere = types.ModuleType("elsewhere_project")
    exec("class Config:\n    def __init__(self): self.lr = 1", elsewhere.__dict__)
    elsewhere.Config.__module__ = "elsewhere_project"
    monkeypatch.setitem(sys.modules, "elsewhere_project", elsewhere)
    torch.save({"net": STATE, "cfg": elsewhere.Config()}, tmp_path / "w.pth")
    monkeypatch.delitem(sys.modules, "elsewhere_project")
    check(tmp_path / "w.pth", "net.")


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Linear(3, 2)

    def forward(self, images):
        return self.conv(images)


def whole():
    module = Whole()
    module.load_state_dict(STATE)
    return module


def test_a_module_that_was_saved_whole_gives_its_tensors(tmp_path):
    torch.save({"model": whole()}, tmp_path / "w.pth")
    check(tmp_path / "w.pth", "model.")


def test_torchscript_gives_its_tensors_and_none_of_its_code(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript; CLIP's files are such
        torch.jit.save(torch.jit.script(whole()), tmp_path / "w.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *given, **named: pytest.fail("TorchScript was loaded"))
    check(tmp_path / "w.pt")


class Call:
    """Pickled as a call of `function`, which unpickling makes."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def victims(flag):
    """Pickles that leave a file where they are read by pickle itself."""
    code = f"open({str(flag)!r}, 'w')"
    return {
        "eval": Call(builtins.eval, code),
        "exec": Call(builtins.exec, code),
        "open": Call(builtins.open, str(flag), "w"),
        "subprocess": Call(subprocess.call, [sys.executable, "-c", code]),
        "os": Call(os.mkdir, str(flag)),
        "writer": Call(np.save, str(flag), np.zeros(1)),
    }


@pytest.mark.parametrize("kind", victims("flag"))
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path, kind, zipped):
    flag = tmp_path / "ran"
    torch.save(
        {"state_dict": STATE, "victim": victims(flag)[kind]}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped
    )
    if kind == "os":
        with pytest.raises(WeightsError, match=r"posix.mkdir, which no file of weights may call"):
            read_state(tmp_path / "w.pth")
    else:
        check(tmp_path / "w.pth", "state_dict.")
    assert not list(tmp_path.glob("ran*"))


@pytest.mark.parametrize(
    ("name", "written", "reason"),
    [
        ("manifest.csv", b"path,identity\na.png,1\n", "it is no file that torch has written"),
        ("recipe.yaml", b"method:\n  name: baseline\n", "it is no file that torch has written"),
        ("none.pth", b"", "it is empty"),
        ("frozen.pth", pickle.dumps({"a": frozenset([1])}, 4), "Unsupported operand 149"),
    ],
)
def test_a_file_of_another_kind_is_refused_without_torchs_advice(tmp_path, name, written, reason):
    (tmp_path / name).write_bytes(written)
    with pytest.raises(WeightsError) as refused:
        read_state(tmp_path / name)
    assert f"cannot be read as tensors ({reason}). Expected" in str(refused.value)


def test_the_victims_are_real(tmp_path):
    """What is not executed above is executed by a reader that trusts the file."""
    torch.save({"victim": victims(tmp_path / "ran")["eval"]}, tmp_path / "w.pth")
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_stand_ins_are_known_to_this_reader_alone(tmp_path):
    torch.save({"model": STATE, "args": BESIDE["args"]}, tmp_path / "w.pth")
    before = torch.serialization.get_safe_globals()
    read_state(tmp_path / "w.pth")
    assert set(torch.serialization.get_safe_globals()) == set(before)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "w.pth", weights_only=True)


def test_a_folder_is_refused_with_the_file_to_give(tmp_path):
    with pytest.raises(WeightsError, match=r"is a folder. Expected a file, .*last.safetensors"):
        read_state(tmp_path)


METHODS = {
    "baseline": {},
    "variational_distillation": {},
    "agw": {"backbone": {"non_local": [0, 0, 0, 1]}},
    "implicit_knowledge": {},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("own") / "world"
    return synthesise(root, "regdb", 4, 2, images_per_camera=2, size=(48, 32), workers=1)


@pytest.mark.parametrize("name", METHODS)
def test_a_runs_own_file_starts_a_network_of_any_method(name, world, tmp_path):
    backbone = {"name": "test_resnet", "weights": "none", **METHODS[name].get("backbone", {})}
    data = {"name": "regdb", "root": str(world), "height": 48, "width": 32, "workers": 0, "interpolation": "bicubic"}
    data |= {"sampler": {"identities": 2, "images": 2}, "normalise": {"mean": [0.4] * 3, "std": [0.3] * 3}}
    recipe = {"data": data, "method": {"name": name, "backbone": backbone}, "training": {"epochs": 1, "ema": 0.5}}
    train(make_recipe(recipe), tmp_path / "run")
    file = tmp_path / "run" / "last.safetensors"
    with noted() as notes:
        start = build("test_resnet", weights=str(file))
    assert "left aside" in notes[0]
    method = open_run(tmp_path / "run", "last").method.cpu()
    first = start.network.conv1[0].weight
    assert any(
        torch.equal(value, first) for key, value in method.state_dict().items() if key.endswith("conv1.0.weight")
    )
    pixels = pixels_of(BackboneOptions(name="test_resnet", weights=str(file)))
    assert pixels.normalisation.mean == (0.4, 0.4, 0.4)
    assert pixels.interpolation == "bicubic"
    assert torch.isfinite(start(IMAGES)).all()
