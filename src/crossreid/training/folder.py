"""What a run writes into its folder while it goes on: last.safetensors, best.safetensors and what `tracking` writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossreid.training.checkpoint import save_checkpoint
from crossreid.training.state import TrainingState
from crossreid.training.tracking import Tracker

LAST, BEST = "last.safetensors", "best.safetensors"


class RunFolder:
    """The folder of a run in `state`: written by the first process, though all of them take part in a checkpoint.

    Args:
        recipe: kept in each checkpoint.
        count_images: images of a batch, for the speed.
        on_start: called by the first process before it writes anything.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        recipe: dict[str, Any],
        *,
        count_images: Callable[[Any], int],
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.state, self.recipe, self.count_images = folder, state, recipe, count_images
        self._tracker: Tracker | None = None
        self._clock = 0.0
        if not state.fabric.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.tmp.*"):
            leftover.unlink(missing_ok=True)
        if on_start is not None:
            on_start()
        self._tracker = Tracker(folder, state.step)

    def epoch_begins(self) -> None:
        """Start the clock of the first step."""
        self._clock = time.perf_counter()

    def step_done(self, batch: Any) -> None:
        """Add the row of a training step."""
        if self._tracker is None:
            return
        before, self._clock = self._clock, time.perf_counter()
        images = self.count_images(batch) * self.state.fabric.world_size
        self._tracker.train(
            {
                "step": self.state.step,
                "epoch": self.state.epoch,
                "losses": self.state.losses,
                "total": sum(self.state.losses.values()),
                "lr": self.state.optimiser.param_groups[0]["lr"],
                "images_per_second": round(images / (self._clock - before), 1),
            }
        )

    def validated(self, numbers: dict[str, float]) -> None:
        """Add the row of a validation."""
        if self._tracker is not None:
            self._tracker.validation({"step": self.state.step, "epoch": self.state.epoch, "validation": numbers})

    def save(self, name: str) -> None:
        """Write a checkpoint of the state, after the rows that lead to it; to be called by all processes."""
        checkpoint = self.state.to_checkpoint(self.recipe)
        if self._tracker is not None:
            self._tracker.flush()
            save_checkpoint(self.folder / name, checkpoint)

    def close(self) -> None:
        if self._tracker is not None:
            self._tracker.close()
