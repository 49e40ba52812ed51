"""The overhead of a training step over its encoders: losses, optimiser, logging and transfers, in percent.

    python benchmarks/train_step.py --backbone resnet50 --height 256 --width 128 --identities 16 --images 8

A step is one of `crossreid.training.loop.fit`, from receiving a batch in main memory to requesting the next. The bare
encoders are copies of the method's own, run forward and backward on exactly the tensors that the method passes to them,
in the same precision and memory layout. Both are timed alternately in one run; the medians are compared. Processor
seconds of all threads are reported too, as other programs on a busy machine disturb them less.

`--ways` times the same step in other ways in the same rounds: in bf16, and with images and weights stored channels
first, as they were before training used channels last.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data._utils.pin_memory import pin_memory

from crossreid.data.batch import Batch
from crossreid.data.composition import composition_of_sets
from crossreid.methods import METHODS, build_method
from crossreid.methods.method import Method
from crossreid.methods.view_distillation import ViewDistillation
from crossreid.training.loop import fit
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric


def random_batch(identities: int, images: int, height: int, width: int, size: int) -> Batch:
    """P x K noise images, half of each identity's infrared, or sets of `size`; in page-locked memory where there is a GPU."""
    labels = torch.arange(identities).repeat_interleave(images)
    modalities = (torch.arange(images) % 2).repeat(identities)
    shape: tuple[int, ...] = (len(labels), 3, height, width)
    if size > 1:
        modalities, shape = modalities[:, None].repeat(1, size), (len(labels), size, 3, height, width)
    composition = composition_of_sets(labels, modalities)  # as the loader makes it
    batch = Batch(torch.randn(shape), labels, modalities, torch.zeros_like(modalities), composition=composition)
    return pin_memory(batch) if torch.cuda.is_available() else batch


def encoder_inputs(method: Method, batch: Batch) -> list[tuple[int, tuple[Tensor, ...]]]:
    """(number of the encoder, what it is given: images, of two streams their modalities too) of every pass of `losses`."""
    passes: list[tuple[int, tuple[Tensor, ...]]] = []
    hooks = [
        encoder.register_forward_pre_hook(lambda _, inputs, i=i: passes.append((i, tuple(x.detach() for x in inputs))))
        for i, encoder in enumerate(all_encoders(method))
    ]
    with torch.no_grad():
        method.losses(batch)
    for hook in hooks:
        hook.remove()
    return passes


def all_encoders(method: Method) -> list[nn.Module]:
    """The method's, then its teacher's."""
    taught = isinstance(method, ViewDistillation) and method.teacher is not None
    return [*method.encoders, *(method.teacher.encoders if taught else ())]  # type: ignore[union-attr, attr-defined]


def forward_backward(
    encoders: list[nn.Module], passes: list[tuple[int, tuple[Tensor, ...]]], learning: int, autocast: Any
) -> None:
    """Forward by all, backward by the first `learning` of them."""
    with autocast():
        terms = []
        for i, given in passes:
            with torch.set_grad_enabled(i < learning):
                found = encoders[i](*given)
                maps = found if isinstance(found, tuple) else (found,)
                terms += [one.mean(dim=(2, 3)).float().pow(2).mean() for one in maps]
    torch.stack(terms).sum().backward()


class Moment(NamedTuple):
    """Seconds by the clock, and those of this process on all processors."""

    seconds: float
    processor: float

    def since(self, start: Moment) -> Moment:
        return Moment(self.seconds - start.seconds, self.processor - start.processor)


def clock(device: torch.device) -> Moment:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Moment(time.perf_counter(), time.process_time())


# Other ways to take the same step: precision, and whether channels come last.
WAYS = {
    "channels-first": ("32-true", False),
    "bf16": ("bf16-mixed", True),
    "bf16-channels-first": ("bf16-mixed", False),
}


class Way:
    """The step of a method in another way, `steps` of them in a row in one epoch."""

    def __init__(self, name: str, method: Method, accelerator: str, steps: int) -> None:
        from crossreid.training.state import initial_state

        precision, self.channels_last = WAYS[name]
        self.options = TrainingOptions(epochs=1, precision=precision, accelerator=accelerator)
        self.steps, self.taken = steps, list[Moment]()
        self.state = initial_state(method, self.options, make_fabric(self.options))
        if not self.channels_last:
            self.state.method.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.state.training_mode(self.options)

    def step(self, batch: Batch) -> None:
        """Take one step, and keep how long it took."""
        from crossreid.training import step

        as_it_is = contextlib.nullcontext() if self.channels_last else mock.patch.object(step, "laid_out", lambda b: b)
        start = clock(self.state.fabric.device)
        with as_it_is:
            step.train_step(self.state, self.state.fabric.to_device(batch), self.options, steps_per_epoch=self.steps)
        self.taken.append(clock(self.state.fabric.device).since(start))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a whole step and of the bare encoders, `steps` of each, in turn."""
    torch.manual_seed(0)
    options = TrainingOptions(epochs=1, precision=arguments.precision, accelerator=arguments.device)
    fabric = make_fabric(options)
    given: dict[str, Any] = {"backbone": {"name": arguments.backbone, "weights": "none"}}
    if "setting" in METHODS[arguments.method].options.model_fields:
        given["setting"] = arguments.setting
    if arguments.method == "agw" and arguments.backbone != "resnet50":
        given["backbone"]["non_local"] = (0, 1, 1, 0)
    if arguments.method == "view_distillation":
        given |= {"images": arguments.student_images}
    method = build_method(METHODS[arguments.method].options(**given), arguments.classes)
    if isinstance(method, ViewDistillation):
        method.teach(build_method(METHODS[arguments.method].options(**given), arguments.classes))
    batch = random_batch(arguments.identities, arguments.images, arguments.height, arguments.width, arguments.set_size)
    rehearsal = copy.deepcopy(method).to(fabric.device)
    steps = arguments.warmup + arguments.steps
    others = {name: Way(name, copy.deepcopy(method), arguments.device, steps) for name in arguments.ways}
    with fabric.autocast():
        passes = encoder_inputs(rehearsal, fabric.to_device(batch))
    if hasattr(fit_module(), "arithmetic_of"):  # of this state of the program, whose steps have channels last
        rehearsal.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        passes = [(i, tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given))
                  for i, given in passes]  # fmt: skip
    whole: list[Moment] = []
    bare: list[Moment] = []

    def batches(epoch: int, first: int) -> Iterator[Batch]:
        for _ in range(steps):
            start = clock(fabric.device)
            yield batch
            whole.append(clock(fabric.device).since(start))
            rehearsal.zero_grad(set_to_none=True)
            start = clock(fabric.device)
            forward_backward(all_encoders(rehearsal), passes, len(rehearsal.encoders), fabric.autocast)
            bare.append(clock(fabric.device).since(start))
            for way in others.values():
                way.step(batch)

    with tempfile.TemporaryDirectory() as out:
        fit(method, batches, steps_per_epoch=steps, options=options, out=Path(out), fabric=fabric, recipe={})
    step, encoders = medians(whole[arguments.warmup :]), medians(bare[arguments.warmup :])
    ways = {name: medians(way.taken[arguments.warmup :]) for name, way in others.items()}
    on_gpu = fabric.device.type == "cuda"
    return {
        "step_seconds": step.seconds,
        "encoder_seconds": encoders.seconds,
        "rest_percent": 100 * (step.seconds / encoders.seconds - 1),
        "images_per_second": len(batch.images.flatten(0, -4)) / step.seconds,
        "step_processor_seconds": step.processor,
        "encoder_processor_seconds": encoders.processor,
        "rest_percent_of_processor": 100 * (step.processor / encoders.processor - 1),
        "ways": {name: way._asdict() for name, way in ways.items()},
        "encoder_passes": sum(len(given[0]) for _, given in passes) / len(batch.labels),
        "peak_memory_gib": torch.cuda.max_memory_allocated(fabric.device) / 2**30 if on_gpu else None,
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "settings": vars(arguments) | {"json": None},
        "all_step_seconds": [moment.seconds for moment in whole[arguments.warmup :]],
        "all_encoder_seconds": [moment.seconds for moment in bare[arguments.warmup :]],
    }


def medians(taken: list[Moment]) -> Moment:
    return Moment(median(moment.seconds for moment in taken), median(moment.processor for moment in taken))


def fit_module() -> Any:
    """The module of `fit`."""
    return sys.modules[fit.__module__]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), default="variational_distillation")
    parser.add_argument("--setting", choices=("crossreid", "paper", "official"), default="crossreid")
    parser.add_argument("--backbone", default="resnet18")
    for name, default in (
        ("height", 128),
        ("width", 64),
        ("identities", 16),
        ("images", 8),
        ("classes", 395),
        ("set-size", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--student-images", type=int, help="images of each set that the student sees; all by default")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), default="32-true")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--steps", type=int, default=20, help="number of timed steps")
    parser.add_argument("--warmup", type=int, default=3, help="number of steps before those, not timed")
    parser.add_argument(
        "--ways", nargs="*", choices=WAYS, default=[], help="other ways to run the step, timed in the same rounds"
    )
    parser.add_argument(
        "--json", type=Path, help="also write the numbers to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    result = measure(arguments)
    table = Table(
        "", "median ms", "of the processor", title=f"{result['device']}, torch {result['torch']}, {arguments.precision}"
    )
    for name, key in (("whole step", "step"), ("bare encoders, forward and backward", "encoder")):
        table.add_row(name, f"{1e3 * result[f'{key}_seconds']:.1f}", f"{1e3 * result[f'{key}_processor_seconds']:.1f}")
    rest = "the rest, in percent of the encoders"
    table.add_row(rest, f"{result['rest_percent']:.1f} %", f"{result['rest_percent_of_processor']:.1f} %")
    for name, way in result["ways"].items():
        table.add_row(f"whole step, {name}", f"{1e3 * way['seconds']:.1f}", f"{1e3 * way['processor']:.1f}")
    table.add_row("images per second", f"{result['images_per_second']:.1f}")
    Console().print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
