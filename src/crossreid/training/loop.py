"""The training loop: one flat loop on Lightning Fabric, the same on a laptop and on several machines.

It knows nothing of data sets or of evaluation: batches come from a callable by (epoch, first step), validation is a
callable that returns named numbers. What is lost by a kill is the steps since the last checkpoint, and they are done
again to the same bits; SIGINT and SIGTERM lose nothing, as a checkpoint is written first.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.training import checkpoint as files
from crossreid.training.bf16 import refuse_broken_bf16
from crossreid.training.optimisation import OptimiserOptions, ScheduleOptions, make_optimiser, rate_factor
from crossreid.training.signals import Interrupted, stop_signals
from crossreid.training.tracking import Tracker


class TrainingOptions(Options):
    seed: int = Field(0, ge=0, description="The seed that all randomness of the run is derived from.")
    epochs: int = Field(120, ge=1, description="Passes over the training images.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="Arithmetic of the network.")
    accumulate: int = Field(1, ge=1, description="Batches an optimiser step.")
    clip: float | None = Field(None, gt=0, description="Clip the gradient's norm to this; null for not at all.")
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of averaged weights; null for none.")
    compile: bool = Field(False, description="Compile the encoders with torch.compile.")
    freeze_batch_statistics: bool = Field(False, description="Keep batch norm's running statistics as they are.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    monitor: str = Field("rank-1", description="Validation number whose highest value makes the best checkpoint.")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints within an epoch; null for at each epoch's end only."
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    devices: int = Field(1, ge=1, description="Processes on this machine.")
    nodes: int = Field(1, ge=1, description="Machines.")
    optimiser: OptimiserOptions = Field(OptimiserOptions(), description="The optimiser.")
    schedule: ScheduleOptions = Field(ScheduleOptions(), description="Course of the learning rate.")


# What a checkpoint must tell for a run to go on.
FACTS = ("epoch", "step_in_epoch", "step", "best", "losses", "groups", "generators", "recipe", "averaged")


class NonFiniteLoss(CrossreidError):
    """A loss term became infinite or NaN; the message names it and the step."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a run ended: batches done in all and before this start, the best validation so far, the last losses."""

    steps: int
    steps_before: int
    best: float | None
    losses: dict[str, float]


def make_fabric(options: TrainingOptions) -> Fabric:
    """Devices, precision and processes; under torchrun it joins the processes that are there.

    Cross-process averaging of gradients is DDP's, over gloo on CPUs and NCCL on GPUs.

    Raises:
        CrossreidError: bf16 is asked for on a CPU that cannot do what it announces.
    """
    on_cpu = options.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and options.precision == "bf16-mixed":
        refuse_broken_bf16()
    several = options.devices * options.nodes > 1
    strategy: Any = DDPStrategy(find_unused_parameters=False) if several else "auto"
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=options.precision,
        strategy=strategy,
    )
    fabric.launch()
    if several:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Close the connections to the other processes in order: a process that just exits aborts in their threads."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def fit(
    method: nn.Module,
    batches: Callable[[int, int], Iterable[Any]],
    *,
    steps_per_epoch: int,
    options: TrainingOptions,
    out: Path,
    fabric: Fabric,
    recipe: dict[str, Any],
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Train `method` into `out`, or go on with the run that is there; a finished one is left as it is.

    Args:
        batches: called with (epoch, first step) gives that epoch's batches of this process from that step on.
        recipe: what the run depends on, kept in the checkpoint; another one's checkpoint is refused.
        validate: named numbers of a method in evaluation mode; it may use any generator, the run's are put back. Of
            several processes, the first one's numbers count.
        on_start: called by the first process before anything is written, once nothing speaks against the run.

    Raises:
        NonFiniteLoss, CheckpointError, Interrupted.
    """
    last = out / "last.safetensors"
    if options.freeze_batch_statistics:
        _freeze(method)
    elif fabric.world_size > 1 and fabric.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if options.compile:
        for encoder in method.encoders:  # type: ignore[union-attr]
            encoder.compile()
    optimiser = make_optimiser(method, options.optimiser, fused=options.precision != "16-mixed")
    average = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(options.ema)) if options.ema else None
    wrapped, wrapped_optimiser = fabric.setup(method, optimiser)
    wrapped.mark_forward_method("losses")
    if average is not None:
        average.to(fabric.device)
    if fabric.world_size > 1:
        setattr(method, "gather", functools.partial(_gathered, fabric))  # noqa: B010  (a module's setattr is typed)
    _seed(options.seed * 7919 + fabric.global_rank)

    epoch, step_in_epoch, step, best = 0, 0, 0, None
    losses: dict[str, float] = {}
    if last.is_file():
        stored = files.load_checkpoint(last)
        files.require(last, stored, kinds=("model", "generator"), facts=FACTS)
        files.refuse_another_recipe(last, stored.facts["recipe"], recipe)
        files.fit_weights(method, stored.tensors["model"], last)
        files.restore_optimiser(optimiser, stored.tensors.get("optimiser", {}), stored.facts["groups"])
        if average is not None:
            files.fit_weights(average.module, stored.tensors.get("ema", {}), last)
            average.n_averaged.fill_(stored.facts["averaged"])
        _restore_ranks(stored, fabric)
        scaler = getattr(fabric._strategy.precision, "scaler", None)
        if scaler is not None and stored.facts.get("scaler"):
            scaler.load_state_dict(stored.facts["scaler"])
        facts = stored.facts
        epoch, step_in_epoch, step, best = facts["epoch"], facts["step_in_epoch"], facts["step"], facts["best"]
        losses = facts["losses"]
    before = step
    if epoch >= options.epochs:
        return FitResult(step, before, best, losses)
    tracker = None
    if fabric.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
        for leftover in out.glob(".*.tmp.*"):
            leftover.unlink(missing_ok=True)
        if on_start is not None:
            on_start()
        tracker = Tracker(out, step)

    def checkpoint() -> files.Checkpoint:
        tensors, facts = files.generator_states()
        ranks = _gather_ranks(tensors, facts, fabric)
        state, groups = files.optimiser_tensors(optimiser)
        scaler = getattr(fabric._strategy.precision, "scaler", None)
        kinds = {"model": dict(method.state_dict()), "optimiser": state, "generator": ranks[0]}
        if average is not None:
            kinds["ema"] = dict(average.module.state_dict())
        return files.Checkpoint(
            kinds,
            {
                "epoch": epoch, "step_in_epoch": step_in_epoch, "step": step, "best": best, "losses": losses,
                "groups": groups, "generators": ranks[1], "recipe": recipe,
                "scaler": scaler.state_dict() if scaler is not None else None,
                "averaged": int(average.n_averaged) if average is not None else 0,
            },
        )  # fmt: skip

    def save(path: Path) -> None:
        content = checkpoint()
        if tracker is not None:
            tracker.flush()
            files.save_checkpoint(path, content)

    with stop_signals() as received, contextlib.closing(tracker) if tracker else contextlib.nullcontext():
        while epoch < options.epochs:
            wrapped.train()
            if options.freeze_batch_statistics:
                _freeze(method)
            with _progress(fabric, epoch, options.epochs, steps_per_epoch, step_in_epoch) as advance:
                due = False
                clock = time.perf_counter()
                for batch in batches(epoch, step_in_epoch):
                    batch = fabric.to_device(batch)
                    factor = rate_factor(options.schedule, step, steps_per_epoch=steps_per_epoch, epochs=options.epochs)
                    for group in optimiser.param_groups:
                        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
                    setattr(method, "progress", step / (options.epochs * steps_per_epoch))  # noqa: B010
                    # The last group of an epoch may be smaller; its gradient is the mean over what it has.
                    first = step_in_epoch - step_in_epoch % options.accumulate
                    size = min(options.accumulate, steps_per_epoch - first)
                    ends = step_in_epoch + 1 == first + size
                    with fabric.no_backward_sync(wrapped, enabled=not ends and fabric.world_size > 1):
                        terms = wrapped.losses(batch)
                        losses = _finite(terms, step)
                        fabric.backward(torch.stack(list(terms.values())).sum() / size)
                    step += 1
                    step_in_epoch += 1
                    if ends:
                        if options.clip is not None:
                            fabric.clip_gradients(wrapped, wrapped_optimiser, max_norm=options.clip)
                        wrapped_optimiser.step()
                        wrapped_optimiser.zero_grad()
                        if average is not None:
                            average.update_parameters(method)
                    if tracker is not None:
                        now = time.perf_counter()
                        images = batch[0].shape[:-3].numel() if batch[0].ndim > 3 else len(batch[0])
                        speed = images * fabric.world_size / (now - clock)
                        clock = now
                        rate = optimiser.param_groups[0]["lr"]
                        row = {"step": step, "epoch": epoch, "losses": losses, "total": sum(losses.values())}
                        tracker.train({**row, "lr": rate, "images_per_second": round(speed, 1)})
                    advance(losses)
                    due = due or (
                        options.checkpoint_steps is not None and step_in_epoch % options.checkpoint_steps == 0
                    )
                    # A checkpoint holds no half-summed gradient; at an epoch's end it waits for the validation.
                    if not ends or step_in_epoch == steps_per_epoch:
                        continue
                    stop = _agreed(received, fabric)
                    if due or stop:
                        save(last)
                        due = False
                    if stop:
                        raise Interrupted(stop)
            epoch, step_in_epoch = epoch + 1, 0
            if validate is not None and (epoch % options.validate_every == 0 or epoch == options.epochs):
                numbers = _validated(validate, average.module if average is not None else method)
                numbers = fabric.broadcast(numbers)  # processes that disagreed on the best would wait for each other
                if tracker is not None:
                    tracker.validation({"step": step, "epoch": epoch, "validation": numbers})
                if options.monitor not in numbers:
                    raise CrossreidError(
                        f"training.monitor is {options.monitor!r}, which validation does not give. "
                        f"Known: {', '.join(numbers)}."
                    )
                if best is None or numbers[options.monitor] > best:
                    best = numbers[options.monitor]
                    save(out / "best.safetensors")
            save(last)
            if (stop := _agreed(received, fabric)) and epoch < options.epochs:
                raise Interrupted(stop)
    fabric.barrier()  # none leaves before the first process has written the last checkpoint
    return FitResult(step, before, best, losses)


def _seed(seed: int) -> None:
    """Seed torch's, Python's and NumPy's global generators: augmentations of other libraries draw from the latter."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (the global one is meant)


def _agreed(received: list[int], fabric: Fabric) -> int:
    """The signal that any of the processes received, or 0: they stop at the same step or not at all."""
    number = received[0] if received else 0
    if fabric.world_size == 1:
        return number
    largest = torch.tensor(number, device=fabric.device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return int(largest)


def _gathered(fabric: Fabric, tensor: Tensor) -> Tensor:
    """`(B, ...)` of each process to `(world * B, ...)`, in process order, with gradient."""
    gathered = fabric.all_gather(tensor, sync_grads=tensor.is_floating_point())
    assert isinstance(gathered, Tensor)
    return gathered.flatten(0, 1)


def _finite(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """The terms as numbers, read in one transfer.

    Raises:
        NonFiniteLoss: naming the terms that are not finite.
    """
    values = dict(zip(terms, torch.stack([term.detach().float() for term in terms.values()]).tolist(), strict=True))
    bad = [name for name, value in values.items() if value - value != 0]
    if bad:
        raise NonFiniteLoss(
            f"loss {', '.join(bad)} is not finite at step {step} ({values}). Lower training.optimiser.lr, set "
            "training.clip, or use training.precision=32-true; the last checkpoint is untouched."
        )
    return values


def _validated(validate: Callable[[nn.Module], dict[str, float]], method: nn.Module) -> dict[str, float]:
    """Validation numbers, with the generators as they were: how often one validates changes no weight."""
    tensors, facts = files.generator_states()
    was_training = method.training
    method.eval()
    try:
        return validate(method)
    finally:
        method.train(was_training)
        files.restore_generators(tensors, facts)


def _freeze(method: nn.Module) -> None:
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _gather_ranks(
    tensors: dict[str, Tensor], facts: dict[str, Any], fabric: Fabric
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Every process's generator states, in one place: tensors named by rank, facts as a list by rank."""
    if fabric.world_size == 1:
        return {f"0/{name}": tensor for name, tensor in tensors.items()}, [facts]
    gathered: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(gathered, (tensors, facts))
    named = {f"{rank}/{name}": tensor for rank, (states, _) in enumerate(gathered) for name, tensor in states.items()}
    return named, [facts for _, facts in gathered]


def _restore_ranks(stored: files.Checkpoint, fabric: Fabric) -> None:
    ranks = stored.facts["generators"]
    if len(ranks) != fabric.world_size:
        warnings.warn(
            f"the checkpoint was written by {len(ranks)} processes, now there are {fabric.world_size}: "
            "the run goes on, but not to the same bits.",
            stacklevel=3,
        )
        return
    prefix = f"{fabric.global_rank}/"
    own = {k.removeprefix(prefix): v for k, v in stored.tensors["generator"].items() if k.startswith(prefix)}
    files.restore_generators(own, ranks[fabric.global_rank])


@contextlib.contextmanager
def _progress(
    fabric: Fabric, epoch: int, epochs: int, steps: int, done: int
) -> Iterator[Callable[[dict[str, float]], None]]:
    """A progress bar of one epoch; the callable takes a step's losses. Nothing is drawn but by the first process."""
    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[losses]}"),
        console=Console(stderr=True), disable=not fabric.is_global_zero, refresh_per_second=2,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=steps, completed=done, epoch=f"{epoch + 1}/{epochs}", losses="")

        def advance(losses: dict[str, float]) -> None:
            bar.update(task, advance=1, losses=" ".join(f"{name} {value:.3f}" for name, value in losses.items()))

        yield advance
