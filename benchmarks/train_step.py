"""What a training step costs beside its encoders: losses, optimiser, logging and transfers in percent.

    python benchmarks/train_step.py --backbone resnet50 --height 256 --width 128 --identities 16 --images 8

A step is one of `crossreid.training.loop.fit`, from being handed a batch in main memory to asking for the next. The
bare encoders are copies of the method's own, run forward and backward on the very tensors that the method gives them,
in the same precision. Both are timed in turn in one run; the medians are compared.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

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


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


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
    with fabric.autocast():
        passes = encoder_inputs(rehearsal, fabric.to_device(batch))
    whole: list[float] = []
    bare: list[float] = []

    def batches(epoch: int, first: int) -> Iterator[Batch]:
        for _ in range(arguments.warmup + arguments.steps):
            start = clock(fabric.device)
            yield batch
            whole.append(clock(fabric.device) - start)
            rehearsal.zero_grad(set_to_none=True)
            start = clock(fabric.device)
            forward_backward(all_encoders(rehearsal), passes, len(rehearsal.encoders), fabric.autocast)
            bare.append(clock(fabric.device) - start)

    with tempfile.TemporaryDirectory() as out:
        steps = arguments.warmup + arguments.steps
        fit(method, batches, steps_per_epoch=steps, options=options, out=Path(out), fabric=fabric, recipe={})
    step, encoders = median(whole[arguments.warmup :]), median(bare[arguments.warmup :])
    on_gpu = fabric.device.type == "cuda"
    return {
        "step_seconds": step,
        "encoder_seconds": encoders,
        "rest_percent": 100 * (step / encoders - 1),
        "images_per_second": len(batch.images.flatten(0, -4)) / step,
        "encoder_passes": sum(len(given[0]) for _, given in passes) / len(batch.labels),
        "peak_memory_gib": torch.cuda.max_memory_allocated(fabric.device) / 2**30 if on_gpu else None,
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "settings": vars(arguments) | {"json": None},
        "all_step_seconds": whole[arguments.warmup :],
        "all_encoder_seconds": bare[arguments.warmup :],
    }


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
    parser.add_argument("--student-images", type=int, help="of each set; all by default")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), default="32-true")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before those, not timed")
    parser.add_argument("--json", type=Path, help="also write the numbers here, for example under benchmarks/results/")
    arguments = parser.parse_args()
    result = measure(arguments)
    table = Table("", "median ms", title=f"{result['device']}, torch {result['torch']}, {arguments.precision}")
    table.add_row("whole step", f"{1e3 * result['step_seconds']:.1f}")
    table.add_row("bare encoders, forward and backward", f"{1e3 * result['encoder_seconds']:.1f}")
    table.add_row("the rest, in percent of the encoders", f"{result['rest_percent']:.1f} %")
    table.add_row("images a second", f"{result['images_per_second']:.1f}")
    Console().print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
