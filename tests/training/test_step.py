import pytest
import torch

from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from crossreid.training.state import initial_state
from crossreid.training.step import NonFiniteLoss, train_step
from small_run import Small, batches


def start(options, method=None):
    return initial_state(method or Small(0.0), options, make_fabric(options))


def test_weights_are_updated_once_a_group_of_batches_and_at_the_end_of_an_epoch():
    options = TrainingOptions(accumulate=2, accelerator="cpu")
    state = start(options)
    updated, moved = [], []
    for _, batch in zip(range(3), batches()(0, 0), strict=False):
        before = state.method.classifier.weight.detach().clone()
        updated.append(train_step(state, batch, options, steps_per_epoch=3))
        moved.append(not torch.equal(before, state.method.classifier.weight))
    assert updated == moved == [False, True, True]
    assert (state.step, state.step_in_epoch, state.epoch) == (3, 3, 0)
    assert state.losses.keys() == {"identity", "ranking"}


def test_rate_and_progress_are_those_of_the_step():
    options = TrainingOptions(
        epochs=2, accelerator="cpu", optimiser={"lr": 0.5}, schedule={"kind": "step", "milestones": [1]}
    )
    state = start(options)
    batch = next(batches()(0, 0))
    found = []
    for _ in range(4):
        train_step(state, batch, options, steps_per_epoch=2)
        found.append((state.method.progress, state.optimiser.param_groups[0]["lr"]))
    assert found == [(0.0, 0.5), (0.25, 0.5), (0.5, 0.05), (0.75, 0.05)]


def test_a_loss_that_is_not_finite_changes_neither_weights_nor_counters():
    class Broken(Small):
        def losses(self, batch):
            return {"identity": super().losses(batch)["identity"], "other": torch.tensor(float("inf"))}

    options = TrainingOptions(accelerator="cpu")
    state = start(options, Broken())
    before = state.method.classifier.weight.detach().clone()
    with pytest.raises(NonFiniteLoss, match="loss other is not finite at step 0"):
        train_step(state, next(batches()(0, 0)), options, steps_per_epoch=8)
    assert torch.equal(before, state.method.classifier.weight)
    assert (state.step, state.losses) == (0, {})
