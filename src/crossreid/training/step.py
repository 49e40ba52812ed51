"""One training step: losses of a batch and their gradient, then the optimiser and the averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.models.domain_norm import batch_of
from crossreid.training.optimisation import rate_factor, set_rates
from crossreid.training.options import TrainingOptions
from crossreid.training.state import TrainingState


class NonFiniteLoss(CrossreidError):
    """A loss term became infinite or NaN; the message names it and the step."""


def train_step(state: TrainingState, batch: Any, options: TrainingOptions, *, steps_per_epoch: int) -> bool:
    """Train on one batch; returns whether the weights were updated, which happens once in `accumulate` batches.

    Args:
        steps_per_epoch: batches of the present epoch. What is given in epochs is counted as if all were as long.

    Raises:
        NonFiniteLoss: a loss term is infinite or NaN; weights and counters are as they were.
    """
    epochs, step = options.epochs, state.epoch * steps_per_epoch + state.step_in_epoch
    set_rates(
        state.optimiser,
        rate_factor(options.schedule, step, steps_per_epoch=steps_per_epoch, epochs=epochs, steps_done=state.step),
    )
    state.trainable.progress = step / (epochs * steps_per_epoch)
    size, complete, first = _group(state.step_in_epoch, options.accumulate, steps_per_epoch)
    state.unfreeze(options, state.epoch + first / steps_per_epoch)
    with state.fabric.no_backward_sync(state.wrapped_method, enabled=not complete and state.fabric.world_size > 1):
        # Fabric casts what passes its wrapper, which in one process `losses` does not.
        with batch_of(getattr(batch, "domains", None)), state.fabric.autocast():
            terms = state.wrapped_method.losses(batch)
        state.losses = _finite(terms, state.step)
        state.fabric.backward(torch.stack(list(terms.values())).sum() / size)
    state.step += 1
    state.step_in_epoch += 1
    if complete:
        _update(state, options)
    return complete


def _group(step_in_epoch: int, accumulate: int, steps_per_epoch: int) -> tuple[int, bool, int]:
    """How many batches share an update with this one, whether it is the last of them, and which step of the epoch is the first.

    The last group of an epoch may be smaller; its gradient is the mean over what it has.
    """
    first = step_in_epoch - step_in_epoch % accumulate
    size = min(accumulate, steps_per_epoch - first)
    return size, step_in_epoch + 1 == first + size, first


def _update(state: TrainingState, options: TrainingOptions) -> None:
    """Move the weights along the gradient that has been summed up, and their average after them."""
    state.freezing.drop_gradients()
    if options.clip is not None:
        state.fabric.clip_gradients(state.wrapped_method, state.wrapped_optimiser, max_norm=options.clip)
    state.wrapped_optimiser.step()
    state.wrapped_optimiser.zero_grad()
    if state.average is not None:
        state.average.update_parameters(state.method)


def _finite(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """The terms as numbers, read in one transfer."""
    values = dict(zip(terms, torch.stack([term.detach().float() for term in terms.values()]).tolist(), strict=True))
    refuse_non_finite(values, step)
    return values


def refuse_non_finite(values: Mapping[str, float], step: int) -> None:
    """Raise `NonFiniteLoss` where a loss of `step` is infinite or NaN."""
    bad = [name for name, value in values.items() if value - value != 0]
    if bad:
        raise NonFiniteLoss(
            f"loss {', '.join(bad)} is not finite at step {step} ({values}). Lower training.optimiser.lr, set "
            "training.clip, or use training.precision=32-true; the last checkpoint is untouched."
        )
