"""What a run writes into its folder while it trains, and the lock that keeps other runs out.

It writes last.safetensors, best.safetensors, the files of `tracking` and, if the recipe changed between two starts,
changes.json: a list of {"step", "epoch", "key", "was", "now"}, each in effect after that step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from crossreid.errors import CrossreidError
from crossreid.files import Held, lock, remove_leftovers_in, unlock, write_json
from crossreid.training.checkpoint import UNFINISHED, Checkpoint, save_checkpoint
from crossreid.training.optimisation import full_rate
from crossreid.training.state import TrainingState
from crossreid.training.tracking import Tracker

LAST, BEST, CHANGES, LOCK = "last.safetensors", "best.safetensors", "changes.json", ".lock"
_OWN = (LAST, BEST, CHANGES, "recipe.yaml", "start.json", "metrics.jsonl")
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class RunLocked(CrossreidError):
    """Another process, or this one, is already training in the folder."""


@contextlib.contextmanager
def locked(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Keep other runs out of a folder, which is created if missing; unfinished files of killed runs are removed.

    The first process holds the lock for all of them; all must enter. The lock file is removed with the lock, and so is
    a folder that was created here and that nothing was written into.

    Raises:
        RunLocked: another run, which is named, holds the folder; each of several processes raises it.
    """
    held, refusal, made = None, None, not folder.exists()
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held = _lock(folder)
        except Held as holder:
            refusal = f"{folder} is being trained by {holder}. Wait for it to end, stop it, or choose another --out for this run."
    if (refusal := fabric.broadcast(refusal)) is not None:
        raise RunLocked(refusal)
    try:
        if held is not None:
            remove_leftovers_in(folder, _OWN)
            for found in folder.iterdir():
                if UNFINISHED.fullmatch(found.name):
                    found.unlink(missing_ok=True)
        yield
    finally:
        if held is not None:
            unlock(held, remove=folder / LOCK)
        if fabric.is_global_zero and made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(folder: Path) -> int | None:
    """The lock of a folder; None if it is not writable, or its file system has no locks."""
    try:
        return lock(folder / LOCK)
    except FileNotFoundError:  # a run that has just ended removed its empty folder
        folder.mkdir(parents=True, exist_ok=True)
        return _lock(folder)
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            warnings.warn(
                f"{folder} cannot be locked ({error.strerror}): do not start another run there.", stacklevel=4
            )
        elif error.errno != errno.EROFS and os.access(folder, os.W_OK):
            raise
        return None


class RunFolder:
    """The folder of a run in `state`: written by the first process, though all take part in a checkpoint.

    Args:
        recipe: kept in each checkpoint.
        count_images: number of images of a batch, for the speed.
        on_start: called by the first process before it writes anything.
        save: writes a checkpoint to a path; `save_checkpoint` by default.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        recipe: dict[str, Any],
        *,
        count_images: Callable[[Any], int],
        on_start: Callable[[], None] | None = None,
        save: Callable[[Path, Checkpoint], None] | None = None,
    ) -> None:
        self.folder, self.state, self.recipe, self.count_images = folder, state, recipe, count_images
        self._save = save
        self._tracker: Tracker | None = None
        self._clock = 0.0
        self._unlogged: deque[dict[str, Any]] = deque()  # step rows without their losses, which are not read yet
        if not state.fabric.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if on_start is not None:
            on_start()
        if state.changes:
            write_json(folder / CHANGES, state.changes)
        self._tracker = Tracker(folder, state.step)

    def epoch_begins(self) -> None:
        """Start the clock of the first step."""
        self._clock = time.perf_counter()

    def step_done(self, batch: Any) -> None:
        """Add the row of a training step, and write the rows whose losses have been read."""
        if self._tracker is not None:
            self._unlogged.append(
                {
                    "step": self.state.step,
                    "epoch": self.state.epoch,
                    "lr": full_rate(self.state.optimiser),
                    "images": self.count_images(batch) * self.state.fabric.world_size,
                }
            )
        self._log()

    def read_losses(self) -> None:
        """Wait for the losses of all steps so far and add their rows; must be called by all processes.

        Raises:
            NonFiniteLoss: one of them is infinite or NaN.
        """
        self.state.unread.flush()
        self._log()

    def _log(self) -> None:
        """Add the rows of the steps whose losses have been read; several at once count as equally long."""
        read = self.state.unread.take()[: len(self._unlogged)]  # a step that failed midway has no row
        if not read or self._tracker is None:
            return
        before, self._clock = self._clock, time.perf_counter()
        seconds = (self._clock - before) / len(read)
        for losses in read:
            row = self._unlogged.popleft()
            self._tracker.train(
                {
                    "step": row["step"],
                    "epoch": row["epoch"],
                    "losses": losses.values,
                    "total": sum(losses.values.values()),
                    "lr": row["lr"],
                    "images_per_second": round(row["images"] / seconds, 1),
                }
            )

    def validated(self, numbers: dict[str, float]) -> None:
        """Add the row of a validation."""
        if self._tracker is not None:
            self._tracker.validation({"step": self.state.step, "epoch": self.state.epoch, "validation": numbers})

    def save(self, name: str) -> None:
        """Write a checkpoint of the state, after the rows that lead to it; must be called by all processes.

        Raises:
            NonFiniteLoss: a loss of a step that led here is infinite or NaN; earlier checkpoints stay untouched.
        """
        self.read_losses()
        checkpoint = self.state.to_checkpoint(self.recipe)
        if self._tracker is not None:
            self._tracker.flush()
            (self._save or save_checkpoint)(self.folder / name, checkpoint)

    def close(self) -> None:
        """Write the rows of the steps whose losses have been read."""
        if self._tracker is not None:
            try:
                self._log()
            finally:
                self._tracker.close()
