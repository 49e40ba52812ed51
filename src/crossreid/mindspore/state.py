"""The state of a run that MindSpore trains: the cell that computes, and beside it the torch method of the same weights.

Whatever torch's loop does with a state it does with this one. What a checkpoint holds is read from the cell into the torch
method and optimiser, and written as theirs; so it has torch's names and shapes, and opens without MindSpore.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crossreid.data.batch import Batch
from crossreid.mindspore.network import CellNetwork, as_cell_tensor
from crossreid.mindspore.optimiser import CellOptimiser
from crossreid.mindspore.weights import load_torch, torch_state
from crossreid.training.changes import Change
from crossreid.training.checkpoint import Checkpoint
from crossreid.training.optimisation import rate_factor, set_rates
from crossreid.training.options import TrainingOptions
from crossreid.training.state import TrainingState, initial_state


@dataclass
class MindSporeState(TrainingState):
    """A state whose `cell` is moved by `mover`, and validated as `network`."""

    cell: Any = None
    mover: CellOptimiser = field(default=None)  # type: ignore[assignment]
    network: CellNetwork = field(default=None)  # type: ignore[assignment]

    @property
    def evaluated(self) -> nn.Module:
        """The cell, where a network to validate is expected."""
        return self.network

    def training_mode(self, options: TrainingOptions) -> None:
        """Put the cell into training mode."""
        self.network.train()

    def to_checkpoint(self, recipe: dict[str, Any]) -> Checkpoint:
        """All of it, in torch's form."""
        state = {name: torch.from_numpy(values) for name, values in torch_state(self.cell).items()}
        self.method.load_state_dict(state)
        self.mover.keep(self.step)
        return super().to_checkpoint(recipe)

    def restore(self, path: Path, recipe: dict[str, Any], **options: Any) -> list[Change]:
        """As torch's: the checkpoint is its, and the cell takes weights and moments from there."""
        changes = super().restore(path, recipe, **options)
        self.hand_over()
        self.mover.take_up(self.step)
        return changes

    def gradients(self, batch: Batch) -> tuple[dict[str, float], Any]:
        """The terms of a batch as numbers, and the gradient of their sum by each parameter of `mover`."""
        import mindspore

        labels, modalities = batch.labels.numpy(), batch.modalities.numpy()
        names: list[str] = []

        def total(images: Any) -> tuple[Any, ...]:
            terms = self.cell.losses(images, labels, modalities)
            names[:] = terms
            values = list(terms.values())
            return sum(values[1:], values[0]), *values

        of = mindspore.value_and_grad(total, None, self.mover.parameters, has_aux=True)
        (_, *values), gradients = of(as_cell_tensor(batch.images))
        return {name: float(value.asnumpy()) for name, value in zip(names, values, strict=True)}, gradients

    def hand_over(self) -> None:
        """Give the weights of the torch method to the cell."""
        load_torch(self.cell, {name: tensor.numpy() for name, tensor in self.method.state_dict().items()})


def initial_mindspore_state(cell: Any, method: nn.Module, options: TrainingOptions, fabric: Any) -> MindSporeState:
    """The state before the first step: the weights are those that torch would start from."""
    twin = initial_state(method, options, fabric)
    named = dict(cell.parameters_and_names())  # by torch's names
    parameters = {id(parameter): named[name] for name, parameter in method.named_parameters()}
    mover = CellOptimiser(twin.optimiser, parameters, options.optimiser)

    state = MindSporeState(
        twin.fabric, twin.method, twin.optimiser, None, twin.wrapped_method, twin.wrapped_optimiser, cell=cell, mover=mover,
        network=CellNetwork(cell),
    )  # fmt: skip
    state.hand_over()
    return state


def train_step(state: MindSporeState, batch: Batch, options: TrainingOptions, *, steps_per_epoch: int) -> bool:
    """Train on one batch; the weights are updated each time.

    Raises:
        NonFiniteLoss: a loss term is infinite or NaN; weights and counters are as they were.
    """
    step = state.epoch * steps_per_epoch + state.step_in_epoch
    counts = {"steps_per_epoch": steps_per_epoch, "epochs": options.epochs, "steps_done": state.step}
    set_rates(state.optimiser, rate_factor(options.schedule, step, **counts))
    # What is drawn in a step depends on the seed and the step alone, so that a resumed run draws it again.
    state.cell.draw_with(np.random.default_rng((options.seed, state.step)).random)
    values, gradients = state.gradients(batch)
    state.unread.add(state.step, tuple(values), torch.tensor(list(values.values())))
    if options.clip is not None:
        gradients = clipped(gradients, options.clip)
    state.mover.step(gradients)
    state.step += 1
    state.step_in_epoch += 1
    return True


def clipped(gradients: Any, norm: float) -> tuple[Any, ...]:
    """The gradients, scaled down together where their common norm is above `norm`, as torch's `clip_grad_norm_` does."""
    from mindspore import ops

    length = ops.sqrt(sum((ops.square(gradient).sum() for gradient in gradients[1:]), ops.square(gradients[0]).sum()))
    factor = ops.minimum(norm / (length + 1e-6), ops.ones_like(length))
    return tuple(gradient * factor for gradient in gradients)
