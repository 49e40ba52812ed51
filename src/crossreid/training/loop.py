"""The training loop: the same on a laptop and on several machines.

It knows nothing of data sets or of evaluation: batches come from a callable of (epoch, first step), validation is a
callable that returns named numbers. A kill loses the steps since the last checkpoint, which are repeated with
bit-identical results; SIGINT and SIGTERM lose nothing, as a checkpoint is written first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, errors, progress_bar
from crossreid.training.arithmetic import arithmetic_of
from crossreid.training.changes import Change
from crossreid.training.folder import BEST, LAST, RunFolder, locked
from crossreid.training.framework import TORCH, Framework
from crossreid.training.generators import preserved_generators
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import StopAgreement, make_fabric
from crossreid.training.signals import Interrupted, stop_signals
from crossreid.training.state import TrainingState
from crossreid.training.unread_losses import NonFiniteLoss

Batches = Callable[[int, int], Iterable[Any]]
Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a run ended: batches done in total and before this start, the best validation so far, the last losses."""

    steps: int
    steps_before: int
    best: float | None
    losses: dict[str, float]


def first_length(batch: Any) -> int:
    """The length of a batch's first part."""
    return len(batch[0])


def fit(
    method: nn.Module,
    batches: Batches,
    *,
    steps_per_epoch: int | Callable[[int], int],
    options: TrainingOptions,
    out: Path,
    fabric: Fabric | None = None,
    recipe: dict[str, Any] | None = None,
    validate: Validate | None = None,
    on_start: Callable[[], None] | None = None,
    count_images: Callable[[Any], int] = first_length,
    continue_with: Collection[str] = (),
    completed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    framework: Framework = TORCH,
) -> FitResult:
    """Train `method` into the folder `out`, or resume the run there; a finished run is left as it is.

    Args:
        method: a `crossreid.methods.method.Method`, or any module that fulfils `state.Trainable`.
        batches: called with (epoch, first step), returns that epoch's batches of this process from that step on.
        steps_per_epoch: number of batches per epoch; a function of the epoch if epochs differ.
        fabric: devices and processes; by default those of `options`.
        recipe: what the run depends on, kept in the checkpoint; a checkpoint of another recipe is refused, except for
            differences that `training.changes` allows. By default the options.
        validate: returns named numbers of a method in evaluation mode; it may use any generator, as the run's are
            restored. Of several processes, the first one's numbers count.
        on_start: called by the first process once all checks have passed, before anything is written.
        count_images: number of images of a batch, for the logged speed.
        continue_with: dotted keys of the recipe that may differ from the checkpoint's although future steps depend on
            them.
        completed: fills a stored recipe with the defaults of keys it lacks.
        framework: the framework that computes.

    Raises:
        NonFiniteLoss: a loss is not finite.
        CheckpointError: the checkpoint in `out` is of another recipe, or damaged.
        RunLocked: another process is working in `out`.
        NoSpace: the disk is full.
        Interrupted: a signal stopped the run, after a checkpoint was written.
    """
    fabric = fabric or make_fabric(options)
    if recipe is None:
        recipe, completed = {"training": options.model_dump(mode="json")}, _completed
    with locked(out, fabric), arithmetic_of(options, fabric.device):
        state = framework.initial_state(method, options, fabric)
        if (out / LAST).is_file():
            changes = state.restore(out / LAST, recipe, requested=continue_with, completed=completed)
            _take_up(out, state, changes, finished=state.epoch >= options.epochs)
        before = state.step
        if state.epoch < options.epochs:
            folder = RunFolder(
                out, state, recipe, count_images=count_images, on_start=on_start, save=framework.save_checkpoint
            )
            own: dict[str, Any] = {"validate": validate, "train_step": framework.train_step}
            _epochs(state, batches, options, folder, steps_per_epoch=steps_per_epoch, **own)
            fabric.barrier()  # no process leaves before the first has written the last checkpoint
        return FitResult(state.step, before, state.best, state.losses)


def _epochs(
    state: TrainingState,
    batches: Batches,
    options: TrainingOptions,
    folder: RunFolder,
    *,
    steps_per_epoch: int | Callable[[int], int],
    validate: Validate | None,
    train_step: Callable[..., bool],
) -> None:
    """The remaining epochs, each followed by its validation and checkpoint."""
    with stop_signals() as received, contextlib.closing(folder), _losses_first(folder):
        agreement = StopAgreement(state.fabric, received)
        while state.epoch < options.epochs:
            steps = steps_per_epoch(state.epoch) if callable(steps_per_epoch) else steps_per_epoch
            train_epoch(state, batches, options, folder, agreement, steps_per_epoch=steps, train_step=train_step)
            due = state.epoch % options.validate_every == 0 or state.epoch == options.epochs
            if validate is not None and due:
                numbers = validation(state, validate)
                folder.validated(numbers)
                if improves(state, numbers, options.monitor):
                    folder.save(BEST)
            folder.save(LAST)
            if (stop := agreement.now()) and state.epoch < options.epochs:
                raise Interrupted(stop)


@contextlib.contextmanager
def _losses_first(folder: RunFolder) -> Iterator[None]:
    """If a step fails, read the losses of the steps before it: a non-finite one is the reason."""
    try:
        yield
    except NonFiniteLoss:
        raise
    except Exception as error:
        try:
            folder.read_losses()
        except NonFiniteLoss as cause:
            raise cause from error
        except RuntimeError:  # the device is lost; `error` says so
            pass
        raise


def _take_up(out: Path, state: TrainingState, changes: list[Change], *, finished: bool) -> None:
    if not finished:
        state.take_up(changes)
    if changes and state.fabric.is_global_zero:
        what = "; ".join(map(str, changes))
        said = f" is finished, so this has no effect: {what}" if finished else f", from step {state.step} on: {what}"
        errors.print(f"{out}{said}.", soft_wrap=True)


def _completed(recipe: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe that consists of options only, with the defaults of those it lacks."""
    try:
        return {"training": TrainingOptions.model_validate(recipe.get("training", {})).model_dump(mode="json")}
    except ValidationError:
        return recipe


def train_epoch(
    state: TrainingState,
    batches: Batches,
    options: TrainingOptions,
    folder: RunFolder,
    agreement: StopAgreement,
    *,
    steps_per_epoch: int,
    train_step: Callable[..., bool] = TORCH.train_step,
) -> None:
    """Train on the batches of an epoch, or the rest of them, with checkpoints in between as due.

    Raises:
        Interrupted: any of the processes received a signal; a checkpoint has been written.
        NonFiniteLoss: a loss of this or an earlier step is infinite or NaN.
    """
    state.training_mode(options)
    with progress_bar(shown=state.fabric.is_global_zero) as bar:
        title = f"epoch {state.epoch + 1}/{options.epochs}"
        advance = advancing(bar, title, steps_per_epoch, completed=state.step_in_epoch)
        due = False
        folder.epoch_begins()
        for batch in batches(state.epoch, state.step_in_epoch):
            batch = state.fabric.to_device(batch)
            updated = train_step(state, batch, options, steps_per_epoch=steps_per_epoch)
            folder.step_done(batch)
            advance(1, note=" ".join(f"{name} {value:.3f}" for name, value in state.losses.items()))
            if options.checkpoint_steps is not None and state.step_in_epoch % options.checkpoint_steps == 0:
                due = True
            # A checkpoint holds no partially accumulated gradient; at an epoch's end it waits for the validation.
            if not updated or state.step_in_epoch == steps_per_epoch:
                continue
            stop = agreement.reached()
            if due or stop:
                folder.save(LAST)
                due = False
            if stop:
                raise Interrupted(stop)
        folder.read_losses()
    state.epoch, state.step_in_epoch = state.epoch + 1, 0


def validation(state: TrainingState, validate: Validate) -> dict[str, float]:
    """The first process's validation numbers; validating affects no weights, as generators are restored."""
    method = state.evaluated
    was_training = method.training
    with preserved_generators():
        method.eval()
        try:
            numbers = validate(method)
        finally:
            method.train(was_training)
    # Processes that disagreed on the best would deadlock.
    agreed: dict[str, float] = state.fabric.broadcast(numbers)
    return agreed


def improves(state: TrainingState, numbers: dict[str, float], monitor: str) -> bool:
    """Whether the number `monitor` is the highest so far; if so it is stored in the state.

    Raises:
        CrossreidError: validation does not return it.
    """
    if monitor not in numbers:
        raise CrossreidError(
            f"training.monitor is {monitor!r}, which validation does not return. Known: {', '.join(numbers)}."
        )
    if state.best is not None and numbers[monitor] <= state.best:
        return False
    state.best = numbers[monitor]
    return True
