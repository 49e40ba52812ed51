from types import SimpleNamespace

import pytest
import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.methods.method import Method
from crossreid.training.checkpoint import save_checkpoint
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from crossreid.training.state import initial_state
from crossreid.training.step import train_step
from small_run import Small, batches


class Recorded(Method):
    encoders = ()
    features = predict = losses = None


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(TrainingOptions(accelerator="cpu"))


def trained(fabric, options, steps=3):
    state = initial_state(Small(), options, fabric)
    for _, batch in zip(range(steps), batches()(0, 0), strict=False):
        train_step(state, batch, options, steps_per_epoch=8)
    return state


def test_it_comes_back_as_it_was(tmp_path, fabric):
    options = TrainingOptions(ema=0.5, accelerator="cpu")
    state = trained(fabric, options)
    state.best, state.epoch = 0.5, 2
    save_checkpoint(tmp_path / "last", state.to_checkpoint({"a": 1}))
    drawn = torch.rand(3)
    fresh = initial_state(Small(), options, fabric)
    fresh.restore(tmp_path / "last", {"a": 1})
    assert torch.equal(torch.rand(3), drawn)
    for name in ("epoch", "step_in_epoch", "step", "best", "losses"):
        assert getattr(fresh, name) == getattr(state, name)
    one, other = state.to_checkpoint({}), fresh.to_checkpoint({})
    assert [group["lr"] for group in one.facts["groups"]] == [group["lr"] for group in other.facts["groups"]]
    for kind in ("model", "ema", "optimiser"):
        assert one.tensors[kind].keys() == other.tensors[kind].keys()
        assert all(torch.equal(tensor, other.tensors[kind][name]) for name, tensor in one.tensors[kind].items())


def test_averaged_weights_are_what_is_validated(fabric):
    state = initial_state(Small(), TrainingOptions(accelerator="cpu"), fabric)
    assert state.evaluated is state.method
    state = initial_state(Small(), TrainingOptions(ema=0.5, accelerator="cpu"), fabric)
    assert state.evaluated is state.average.module


@pytest.mark.parametrize("freeze", [False, True])
def test_batch_norms_stay_out_of_training_where_their_statistics_are_frozen(fabric, freeze):
    options = TrainingOptions(accelerator="cpu", freeze_batch_statistics=freeze)
    state = initial_state(Small(), options, fabric)
    state.method.eval()
    state.training_mode(options)
    assert state.method.encoder[0].training
    assert state.method.encoder[1].training is not freeze


def test_several_processes_ask_for_a_method_that_brings_their_outputs_together(fabric):
    several = SimpleNamespace(
        world_size=2, global_rank=0, device=torch.device("cpu"), setup=lambda *given: (fabric.setup(given[0]), given[1])
    )
    with pytest.raises(CrossreidError, match=r"Linear has no train_with\(gather\)"):
        initial_state(nn.Linear(2, 2), TrainingOptions(accelerator="cpu"), several)
    method = Small()
    initial_state(method, TrainingOptions(accelerator="cpu"), several)
    assert method.gather.args == (several,)


def test_a_method_keeps_the_contract():
    assert all(hasattr(Method, name) for name in ("encoders", "losses", "train_with"))
    method = Recorded()
    assert method.progress == 0.0
    assert method.gather(3) == 3
    method.train_with(lambda tensor: [tensor, tensor])
    assert method.gather(3) == [3, 3]
