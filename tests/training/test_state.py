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
from on_images import OnImages
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


def of_images(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, 3, 32, 16, generator=generator), torch.arange(6) % 3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_network_of_images_goes_on_to_the_same_bits(tmp_path, fabric, name):
    """Weights lie with channels last, files do not: what an optimiser keeps has to lie as its weights do."""
    options = TrainingOptions(accelerator="cpu", ema=0.9, optimiser={"name": name, "lr": 1e-2})
    whole, halves = initial_state(OnImages(), options, fabric), initial_state(OnImages(), options, fabric)
    for step in range(4):
        train_step(whole, of_images(step), options, steps_per_epoch=8)
    for step in range(4):
        if step == 2:
            save_checkpoint(tmp_path / "last", halves.to_checkpoint({}))
            halves = initial_state(OnImages(), options, fabric)
            halves.restore(tmp_path / "last", {})
        train_step(halves, of_images(step), options, steps_per_epoch=8)
    one, other = whole.to_checkpoint({}), halves.to_checkpoint({})
    for kind in ("model", "ema", "optimiser"):
        assert one.tensors[kind].keys() == other.tensors[kind].keys() != set()
        different = [
            key for key, tensor in one.tensors[kind].items() if not torch.equal(tensor, other.tensors[kind][key])
        ]
        assert not different, kind
    filters = [parameter for parameter in halves.method.parameters() if parameter.ndim == 4 and parameter.shape[1] > 1]
    assert all(parameter.is_contiguous(memory_format=torch.channels_last) for parameter in filters)
    for parameter in filters:
        kept = [value for value in halves.optimiser.state[parameter].values() if value is not None and value.ndim == 4]
        assert kept
        assert all(value.is_contiguous(memory_format=torch.channels_last) for value in kept)


@pytest.mark.parametrize(
    ("precision", "clip", "fused"),
    [("32-true", 1.0, True), ("bf16-mixed", 1.0, True), ("16-mixed", None, True), ("16-mixed", 1.0, False)],
)
def test_one_pass_moves_all_weights_unless_fp16_gradients_are_clipped(fabric, precision, clip, fused):
    options = TrainingOptions(accelerator="cpu", precision=precision, clip=clip)
    assert initial_state(Small(), options, fabric).optimiser.defaults["fused"] is fused


def test_an_optimiser_goes_on_as_it_computes_itself_and_not_as_the_stored_one_did(tmp_path, fabric):
    """fp16 gradients that are clipped from here on cannot be unscaled in the pass that moves the weights."""
    save_checkpoint(tmp_path / "last", trained(fabric, TrainingOptions(accelerator="cpu")).to_checkpoint({}))
    fresh = initial_state(Small(), TrainingOptions(accelerator="cpu", precision="16-mixed", clip=1.0), fabric)
    fresh.restore(tmp_path / "last", {})
    assert {group["fused"] for group in fresh.optimiser.param_groups} == {False}
    assert all(float(kept["step"]) == 3 for kept in fresh.optimiser.state.values())
