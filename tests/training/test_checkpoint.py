import os
import re
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from crossreid.files import NoSpace
from crossreid.training.checkpoint import (
    FORMAT,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    fit_weights,
    load_checkpoint,
    read_weights,
    save_checkpoint,
)
from full_disk import files_of_at_most
from hostile_files import BAD_FACTS, flip_byte, parts_of, rewrite


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


def test_it_is_for_the_eyes_of_whom_other_files_are_for(tmp_path):
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "x.safetensors", Checkpoint({"model": {"a": torch.ones(1)}}, {}))
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640


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
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
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
        fit_weights(nn.Linear(4, 2), read_weights(path).weights, path)
    with pytest.raises(CheckpointError, match="bias unknown"):
        fit_weights(nn.Linear(3, 2, bias=False), read_weights(path).weights, path)


def test_averaged_weights_come_first(tmp_path):
    model, average = nn.Linear(3, 2), nn.Linear(3, 2)
    kinds = {"model": dict(model.state_dict()), "ema": dict(average.state_dict())}
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(kinds, {}))
    fresh = nn.Linear(3, 2)
    fit_weights(fresh, read_weights(tmp_path / "x.safetensors").weights, tmp_path / "x.safetensors")
    assert torch.equal(fresh.weight, average.weight)


def kept(path):
    tensors = {
        "model": {"weight": torch.randn(4, 3), "empty": torch.empty(0), "half": torch.ones(2, dtype=torch.bfloat16)}
    }
    save_checkpoint(path, Checkpoint(tensors | {"generator": {"0/torch": torch.get_rng_state()}}, {"step": 3}))
    return path


def test_a_byte_that_changed_in_a_tensor_is_found_and_the_tensor_named(tmp_path):
    path = kept(tmp_path / "x.safetensors")
    load_checkpoint(path)
    weight = parts_of(path)[0]["model/weight"].numpy().tobytes()
    flip_byte(path, path.read_bytes().rindex(weight) + 5)
    with pytest.raises(
        CheckpointError, match=r"x\.safetensors is damaged \(tensor model/weight: not what was written\)"
    ):
        load_checkpoint(path)


def test_what_is_not_asked_for_is_neither_read_nor_verified(tmp_path):
    path = kept(tmp_path / "x.safetensors")
    whole = path.read_bytes()
    state = parts_of(path)[0]["generator/0/torch"].numpy().tobytes()
    flip_byte(path, whole.rindex(state) + 9)
    assert load_checkpoint(path, WEIGHTS).tensors.keys() == {"model"}
    with pytest.raises(CheckpointError, match="tensor generator/0/torch: not what was written"):
        load_checkpoint(path)


def test_so_are_another_type_shape_or_name_of_the_same_bytes(tmp_path):
    for name, tensors in (
        ("type", {"model/weight": torch.zeros(4, 3).int()}),
        ("shape", {"model/weight": torch.zeros(3, 4)}),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, Checkpoint({"model": {"weight": torch.zeros(4, 3)}}, {}))
        rewrite(path, tensors=tensors)
        with pytest.raises(CheckpointError, match="tensor model/weight: not what was written"):
            load_checkpoint(path)
    path = kept(tmp_path / "name.safetensors")
    path.write_bytes(path.read_bytes().replace(b'"model/weight":{', b'"model/weighs":{'))
    with pytest.raises(CheckpointError, match="model/weighs and 1 more: not what was written"):
        load_checkpoint(path)


def test_so_is_a_fact(tmp_path):
    path = kept(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes().replace(rb"\"step\": 3", rb"\"step\": 4"))
    with pytest.raises(CheckpointError, match="its facts are not those that were written"):
        load_checkpoint(path)


def test_hashes_are_no_fact_of_the_run_and_old_files_have_none(tmp_path):
    path = kept(tmp_path / "x.safetensors")
    assert "sha256" in parts_of(path)[1]
    assert "sha256" not in load_checkpoint(path).facts
    rewrite(path, facts={"step": 5}, hashed=False)
    assert "sha256" not in parts_of(path)[1]
    assert load_checkpoint(path).facts["step"] == 5


@pytest.mark.parametrize("fact", BAD_FACTS)
def test_a_fact_of_a_wrong_type_is_named(tmp_path, fact):
    path = kept(tmp_path / "x.safetensors")
    rewrite(path, hashed=False)
    for value in BAD_FACTS[fact]:
        if fact in ("groups", "generators") and isinstance(value, list) and all(isinstance(row, dict) for row in value):
            continue  # what it should hold depends on the run: tests/hostile
        rewrite(path, facts={fact: value}, hashed=False)
        with pytest.raises(CheckpointError, match=rf"is damaged \(its fact '{fact}") as found:
            load_checkpoint(path)
        assert len(str(found.value)) < 400


def test_a_weight_of_another_type_does_not_fit(tmp_path):
    state = dict(nn.Linear(3, 2).state_dict())
    state["weight"] = state["weight"].int()
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint({"model": state}, {}))
    with pytest.raises(CheckpointError, match=r"weight: expected torch\.float32, found torch\.int32"):
        fit_weights(nn.Linear(3, 2), read_weights(tmp_path / "x.safetensors").weights, tmp_path / "x.safetensors")


def test_a_full_disk_is_a_line_and_leaves_what_was_there(tmp_path):
    path = kept(tmp_path / "x.safetensors")
    with (
        files_of_at_most(1000),
        pytest.raises(NoSpace, match=r"x\.safetensors cannot be written: file too large"),
    ):
        save_checkpoint(path, Checkpoint({"model": {"a": torch.ones(1000)}}, {}))
    assert load_checkpoint(path).facts["step"] == 3
    assert len(list(tmp_path.iterdir())) == 1
