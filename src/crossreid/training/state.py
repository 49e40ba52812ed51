"""The state of a run: everything that changes from step to step, saved to a checkpoint and restored bit-identically."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from crossreid.errors import CrossreidError
from crossreid.models.running_statistics import KEEPS_STATISTICS
from crossreid.terminal import errors
from crossreid.training.activations import checkpoint_activations
from crossreid.training.arithmetic import lay_out
from crossreid.training.averaging import AveragedWeights
from crossreid.training.changes import MEASURED, Change, changes_between, is_among, refuse_another_recipe
from crossreid.training.checkpoint import Checkpoint, CheckpointError, damaged, fit_weights, load_checkpoint, require
from crossreid.training.compiling import compile_losses
from crossreid.training.freezing import Freezing, freezing_of
from crossreid.training.generators import seed_generators
from crossreid.training.optimisation import (
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    settings_of,
    with_settings,
)
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import gathered, gathered_generators, restore_gathered_generators
from crossreid.training.unread_losses import UnreadLosses, ahead_on

# What a run needs from a checkpoint to resume.
FACTS = ("epoch", "step_in_epoch", "step", "best", "losses", "groups", "generators", "recipe", "averaged")
# Recipe keys that an optimiser keeps in its own state.
OF_OPTIMISER = ("training.optimiser", "training.precision")


class Trainable(Protocol):
    """What training requires of an `nn.Module`; a `crossreid.methods.method.Method` has all of it.

    A single process needs only `losses`: `encoders` is used by `compile`, and its parameters can have their own
    learning rate; `train_with` is called if there are several processes.
    """

    progress: float
    """The fraction of training done, 0 at the first step; set before each step."""

    @property
    def encoders(self) -> Sequence[nn.Module]:
        """The networks that take images; if they have `leading_stages(count)`, `parts` names their stages."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is minimised."""

    def train_with(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Set the function that gathers all processes' outputs, `(B, ...)` to `(world * B, ...)`, with gradient."""


@dataclass
class TrainingState:
    """Networks, optimiser and counters of a run. `epoch` counts the epochs done, `step` the batches done in total."""

    fabric: Fabric
    method: nn.Module
    optimiser: Optimizer
    average: AveragedWeights | None
    wrapped_method: Any  # both as wrapped by Fabric: precision, and gradients averaged over the processes
    wrapped_optimiser: Any
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best: float | None = None
    unread: UnreadLosses = field(default_factory=UnreadLosses)
    """Losses of the latest steps, on their way to the host."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What changed in the recipe since the first start: from which `step` and `epoch` on, `key`, `was` and `now`."""
    freezing: Freezing = field(default_factory=lambda: Freezing([]))
    """Which parts of the encoders are frozen, and until when."""

    @property
    def trainable(self) -> Trainable:
        """The method, typed by its contract."""
        return cast(Trainable, self.method)

    @property
    def losses(self) -> dict[str, float]:
        """The losses of the newest step whose losses have been read."""
        return self.unread.newest

    @property
    def evaluated(self) -> nn.Module:
        """The method to validate: with averaged weights if there are any."""
        return self.average.module if self.average is not None else self.method

    @property
    def scaler(self) -> Any:
        """The scaler of fp16 gradients; None in any other precision."""
        return getattr(self.fabric._strategy.precision, "scaler", None)

    def training_mode(self, options: TrainingOptions) -> None:
        """Put the method into training mode, and its frozen batch norms into evaluation mode."""
        self.wrapped_method.train()
        self._keep_statistics(self.method.modules() if options.freeze_batch_statistics else self.freezing.now)

    def unfreeze(self, options: TrainingOptions, epochs: float) -> None:
        """Unfreeze what is due after this many epochs, which may be fractional."""
        if self.freezing.reach(epochs):
            self.training_mode(options)

    def _keep_statistics(self, modules: Iterable[nn.Module]) -> None:
        for module in modules:
            if isinstance(module, KEEPS_STATISTICS):
                module.eval()

    def to_checkpoint(self, recipe: dict[str, Any]) -> Checkpoint:
        """The whole state, of all processes, and the recipe it belongs to.

        Raises:
            NonFiniteLoss: a loss of a step that led here is infinite or NaN.
        """
        self.unread.flush()
        generators, generator_facts = gathered_generators(self.fabric)
        optimiser, groups = optimiser_tensors(self.optimiser)
        kinds = {"model": dict(self.method.state_dict()), "optimiser": optimiser, "generator": generators}
        if self.average is not None:
            kinds["ema"] = dict(self.average.module.state_dict())
        facts = {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "step": self.step,
            "best": self.best,
            "losses": self.losses,
            "groups": groups,
            "generators": generator_facts,
            "recipe": recipe,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "averaged": self.average.updates if self.average is not None else 0,
            "changes": self.changes,
        }
        return Checkpoint(kinds, facts)

    def restore(
        self,
        path: Path,
        recipe: dict[str, Any],
        *,
        requested: Collection[str] = (),
        completed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> list[Change]:
        """Resume from the checkpoint at `path`; returns the differences between its recipe and this one, for `take_up`.

        Args:
            requested: keys that may differ although future steps depend on them.
            completed: fills a stored recipe with the defaults of keys it lacks.

        Raises:
            CheckpointError: it is damaged, belongs to another recipe, or does not fit the method.
        """
        stored = load_checkpoint(path)
        tensors, facts = stored.tensors, stored.facts
        if "imported" in facts:
            raise CheckpointError(
                f"{path} was imported from {facts['imported']}: it holds only weights, so training cannot resume from it. Train "
                f"into another --out, with --set start_from={path.parent}."
            )
        require(path, stored, kinds=("model", "generator"), facts=FACTS)
        changes = changes_between(completed(facts["recipe"]), recipe)
        refuse_another_recipe(path, changes, requested)
        fit_weights(self.method, tensors["model"], path)
        try:
            groups = facts["groups"]
            if any(is_among(change.key, OF_OPTIMISER) for change in changes):
                groups = with_settings(settings_of(self.optimiser))
            restore_optimiser(self.optimiser, tensors.get("optimiser", {}), groups)
            restore_gathered_generators(self.fabric, tensors["generator"], facts["generators"])
            if self.scaler is not None and facts.get("scaler"):
                self.scaler.load_state_dict(facts["scaler"])
        except CrossreidError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise damaged(path, f"{type(error).__name__} in its optimiser or generators: {reason}") from error
        if self.average is not None:
            fit_weights(self.average.module, tensors.get("ema", {}), path)
            self.average.updates = facts["averaged"]
        self.epoch, self.step_in_epoch, self.step = facts["epoch"], facts["step_in_epoch"], facts["step"]
        self.best, self.unread.newest, self.changes = facts["best"], facts["losses"], facts.get("changes", [])
        return changes

    def take_up(self, changes: Sequence[Change]) -> None:
        """Record what differs from here on; a best validation measured otherwise no longer counts."""
        at = {"step": self.step, "epoch": self.epoch}
        self.changes = [*self.changes, *(at | change._asdict() for change in changes)]
        if any(is_among(change.key, MEASURED) for change in changes):
            self.best = None


def initial_state(method: nn.Module, options: TrainingOptions, fabric: Fabric) -> TrainingState:
    """The state before the first step; every process draws from generators seeded by its own rank.

    Raises:
        CrossreidError: with several processes, the method cannot gather their outputs.
    """
    several = fabric.world_size > 1
    if several and not hasattr(method, "train_with"):
        raise CrossreidError(
            f"{type(method).__name__} has no train_with(gather), so its losses would compare only the images within each "
            "process. Derive it from crossreid.methods.method.Method, or train in one process."
        )
    if several and fabric.device.type == "cuda" and not options.freeze_batch_statistics:
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    lay_out(method)
    if options.checkpoint_activations:
        checkpoint_activations(method)
    # The fused kernels unscale fp16 gradients as they step, which is too late to clip them.
    scaled_and_clipped = options.precision == "16-mixed" and options.clip is not None
    optimiser = make_optimiser(method, options.optimiser, fused=not scaled_and_clipped)
    average = AveragedWeights(method, options.ema) if options.ema else None
    freezing = freezing_of(method, options.freeze, options.unfreeze_after, several=several)
    state = TrainingState(fabric, method, optimiser, average, *fabric.setup(method, optimiser))
    state.freezing, state.unread = freezing, UnreadLosses(ahead_on(fabric.device))
    state.wrapped_method.mark_forward_method("losses")
    if options.compile:
        compiled = compile_losses(
            state.trainable, options, fabric.device, processes=fabric.world_size, say=functools.partial(_say, fabric)
        )
        if not several:
            # Not in the method itself, which is copied and saved unchanged.
            state.wrapped_method.__dict__["losses"] = compiled
    if average is not None:
        average.module.to(fabric.device)
    if several:
        state.trainable.train_with(functools.partial(gathered, fabric))
    seed_generators(options.seed * 7919 + fabric.global_rank)
    return state


def _say(fabric: Fabric, line: str) -> None:
    if fabric.is_global_zero:
        errors.print(line, soft_wrap=True)
