"""The framework that computes a run. The loop, its files and its checkpoints are the same for all.

PyTorch is `TORCH`; another framework provides three functions that do the same in its own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossreid.training.checkpoint import Checkpoint
from crossreid.training.state import TrainingState, initial_state
from crossreid.training.step import train_step


@dataclass(frozen=True, slots=True)
class Framework:
    """The functions of a framework, with the same arguments and results as torch's.

    Attributes:
        initial_state: the state before the first step, of a method and its options.
        train_step: trains on one batch, and returns whether the weights were updated.
        save_checkpoint: writes a checkpoint to a path, and beside it the framework's native file; None for only the
            checkpoint.
    """

    initial_state: Callable[..., TrainingState] = initial_state
    train_step: Callable[..., bool] = train_step
    save_checkpoint: Callable[[Path, Checkpoint], None] | None = None


TORCH = Framework()
