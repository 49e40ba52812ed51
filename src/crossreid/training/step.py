"""One training step: losses of a batch and their gradient, then the optimiser and the averaged weights."""

from __future__ import annotations

from typing import Any

import torch

from crossreid.models.domain_norm import batch_of
from crossreid.training.arithmetic import laid_out
from crossreid.training.optimisation import rate_factor, set_rates
from crossreid.training.options import TrainingOptions
from crossreid.training.state import TrainingState
from crossreid.training.unread_losses import NonFiniteLoss as NonFiniteLoss

GRADIENT = "the gradient's norm"


def train_step(state: TrainingState, batch: Any, options: TrainingOptions, *, steps_per_epoch: int) -> bool:
    """Train on one batch; returns whether the weights were updated, which happens once per `accumulate` batches.

    The host does not wait for the device: losses go to `state.unread`, which reads them a few steps later.

    Args:
        steps_per_epoch: batches of the current epoch. Settings in epochs are counted as if all epochs were this long.

    Raises:
        NonFiniteLoss: a loss term is infinite or NaN, or the norm of a gradient that is clipped. If losses are read
            at once, the weights are unchanged, and for a loss so are the counters; otherwise it names the earlier step
            it is from.
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
        # Fabric calls `losses` through its own `forward`, which sets the precision, only with several processes.
        with state.fabric.autocast(), batch_of(getattr(batch, "domains", None)):
            terms = state.wrapped_method.losses(laid_out(batch))
        values = torch.stack(list(terms.values())).float()
        state.unread.add(state.step, tuple(terms), values)
        state.fabric.backward(values.sum() / size)
    state.step += 1
    state.step_in_epoch += 1
    if complete:
        _update(state, options)
    return complete


def _group(step_in_epoch: int, accumulate: int, steps_per_epoch: int) -> tuple[int, bool, int]:
    """The number of batches that share this one's update, whether it is their last, and the step of the first in the
    epoch.

    The last group of an epoch may be smaller; its gradient is the mean over its batches.
    """
    first = step_in_epoch - step_in_epoch % accumulate
    size = min(accumulate, steps_per_epoch - first)
    return size, step_in_epoch + 1 == first + size, first


def _update(state: TrainingState, options: TrainingOptions) -> None:
    """Update the weights with the accumulated gradient, then their average."""
    state.freezing.drop_gradients()
    if options.clip is not None:
        # In fp16 it is occasionally infinite, and the scaler then skips the step.
        norm = state.fabric.clip_gradients(
            state.wrapped_method, state.wrapped_optimiser, max_norm=options.clip, error_if_nonfinite=False
        )
        if state.scaler is None and norm is not None:
            state.unread.add(state.step - 1, (GRADIENT,), norm[None], logged=False)
    state.wrapped_optimiser.step()
    state.wrapped_optimiser.zero_grad()
    if state.average is not None:
        state.average.update(state.method)
