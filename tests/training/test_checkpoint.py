import os
import re
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from crossreid.training.checkpoint import (
    FORMAT,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)


def test_it_comes_back_as_it_was(tmp_path):
    tensors = {
        "model": {"a.b": torch.randn(2, 3), "c": torch.tensor(4)},
        "generator": {"0/torch": torch.get_rng_state()},
    }
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(tensors, {"step": 3, "recipe": {"lr": 1e-3}}))
    back = load_checkpoint(tmp_path / "x.safetensors")
    assert back.facts["step"] == 3
    assert back.facts["recipe"] == {"lr": 1e-3}
    assert back.facts["versions"]["torch"]
    for kind, named in tensors.items():
        for name, tensor in named.items():
            assert torch.equal(back.tensors[kind][name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, Checkpoint({"model": {"a": torch.ones(1)}}, {"step": 1}))
    with pytest.raises(TypeError):
        save_checkpoint(path, Checkpoint({"model": {"a": torch.ones(1)}}, {"step": object()}))
    assert load_checkpoint(path).facts["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("keep", [0, 7, 200])
def test_a_damaged_file_is_named(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, Checkpoint({"model": {"a": torch.ones(100)}}, {}))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
        load_checkpoint(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, Checkpoint({"model": {"a": torch.ones(1)}}, {}))
    load_checkpoint(path)
    if os.getuid() == 0:  # whom no permission stops; who may open no more files is stopped all the same
        reported = "cannot be read: Too many open files"
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    else:
        reported = "cannot be read: Permission denied"
        path.chmod(0)
    try:
        with pytest.raises(CheckpointError, match=reported) as error:
            load_checkpoint(path)
    finally:
        if os.getuid() == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not re.search("damaged|Delete", str(error.value))


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not found"):
        load_checkpoint(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint of this program"):
        load_checkpoint(tmp_path / "plain.safetensors")


@pytest.mark.parametrize("facts", ["{", "[1]", ""])
def test_damaged_facts_are_named(tmp_path, facts):
    save_file({"model/a": torch.ones(1)}, tmp_path / "x.safetensors", metadata={"format": FORMAT, "facts": facts})
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_lost_tensor_is_counted(tmp_path):
    path = tmp_path / "x.safetensors"
    kinds = {"model": {"a": torch.ones(1)}, "optimiser": {"0/step": torch.ones(1), "0/exp_avg": torch.ones(1)}}
    save_checkpoint(path, Checkpoint(kinds, {}))
    with safe_open(path, framework="pt") as stored:
        metadata, kept = stored.metadata(), {"model/a": stored.get_tensor("model/a")}
    save_file(kept, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"damaged \(optimiser: expected 2 tensors, found 0\)"):
        load_checkpoint(path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, Checkpoint({"model": dict(nn.Linear(3, 2).state_dict())}, {}))
    with pytest.raises(CheckpointError, match=r"weight: expected \(2, 4\), found \(2, 3\)"):
        load_weights(nn.Linear(4, 2), path)
    with pytest.raises(CheckpointError, match="bias unknown"):
        load_weights(nn.Linear(3, 2, bias=False), path)


def test_averaged_weights_come_first(tmp_path):
    model, average = nn.Linear(3, 2), nn.Linear(3, 2)
    kinds = {"model": dict(model.state_dict()), "ema": dict(average.state_dict())}
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(kinds, {}))
    fresh = nn.Linear(3, 2)
    load_weights(fresh, tmp_path / "x.safetensors")
    assert torch.equal(fresh.weight, average.weight)
