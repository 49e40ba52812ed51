"""A training step of transformers and of ResNet-50: milliseconds, images per second, and peak memory.

    PYTHONPATH=src python benchmarks/transformers.py --batch 8 --steps 3 --out results.json
    PYTHONPATH=src python benchmarks/transformers.py --device cuda --batch 64 --precision bf16-mixed

A step is losses (identity + triplet, as in the baseline), gradient and AdamW on random images and weights. Each network
runs in its own process, so that its peak memory is its own: on the GPU what torch allocated, on the CPU the process's
resident memory minus that before the network. Images are 256 x 128, or the nearest size that a network's patches and
windows divide. Processor time is reported too, which other work on the machine does not change: on the CPU with one
thread it is what a step takes alone. `--checkpoint` adds a row for each network with recomputed activations. Needs
torch and timm besides the package; `rows` is for other benchmarks to call.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from crossreid.data.batch import Batch
from crossreid.methods import METHODS, build_method
from crossreid.training.activations import checkpoint_activations
from crossreid.training.optimisation import OptimiserOptions, make_optimiser
from machine import machine

# Title, timm's name, height and width.
NETWORKS = {
    "ResNet-50": ("resnet50", 256, 128),
    "ViT-S/16": ("vit_small_patch16_224", 256, 128),
    "ViT-B/16": ("vit_base_patch16_224", 256, 128),
    "DINOv2 ViT-S/14": ("vit_small_patch14_dinov2", 252, 126),
    "Swin-T": ("swin_tiny_patch4_window7_224", 224, 224),
    "ConvNeXt-T": ("convnext_tiny", 256, 128),
    "EVA-02-S/14": ("eva02_small_patch14_224", 252, 126),
}
CLASSES, IMAGES = 751, 2
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def rows(
    networks: Sequence[str] = tuple(NETWORKS), *, device: str = "cpu", batch: int = 8, steps: int = 3,
    precision: str = "32-true", checkpoint: bool = False, threads: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each of the networks named in `NETWORKS`; with `checkpoint` two, the second with recomputed activations.

    Args:
        batch: images a step, an even number: two of each identity.
        steps: timed ones, after one that is not.
        threads: of torch on the CPU; its own choice by default.
    """
    asked = [(name, again) for name in networks for again in ([False, True] if checkpoint else [False])]
    context = multiprocessing.get_context("spawn")
    found = []
    for name, again in asked:
        with context.Pool(1) as pool:
            found.append(pool.apply(_row, (name, device, batch, steps, precision, again, threads)))
        print(_line(found[-1]), flush=True)
    return found


def _row(
    title: str, device: str, size: int, steps: int, precision: str, checkpoint: bool, threads: int | None
) -> dict[str, Any]:
    if threads is not None:
        torch.set_num_threads(threads)
    name, height, width = NETWORKS[title]
    torch.manual_seed(0)
    # What the first use of torch takes is there before the network.
    torch.nn.Conv2d(3, 4, 3)(torch.randn(1, 3, 8, 8)).sum().backward()
    before = _resident()
    backbone = {"name": name, "weights": "none", "last_stride_one": name == "resnet50"}
    method = build_method(METHODS["baseline"].options(backbone=backbone), CLASSES).to(device).train()
    if checkpoint:
        checkpoint_activations(method)
    optimiser = make_optimiser(method, OptimiserOptions(name="adamw", lr=1e-5))
    kinds = torch.zeros(size, dtype=torch.long)
    images, labels = torch.randn(size, 3, height, width), torch.arange(size // IMAGES).repeat_interleave(IMAGES)
    batch = Batch(*(part.to(device) for part in (images, labels, kinds, kinds)))
    seconds, computed = [], []
    with _Peak(device, before) as peak:
        for _ in range(steps + 1):
            start, begun = time.perf_counter(), time.process_time()
            kind = AUTOCAST.get(precision, torch.float32)
            with torch.autocast(torch.device(device).type, kind, enabled=precision in AUTOCAST):
                loss = torch.stack(list(method.losses(batch).values())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            computed.append(time.process_time() - begun)
    step = median(seconds[1:])
    return {
        "network": title, "timm": name, "height": height, "width": width, "checkpoint": checkpoint, "batch": size,
        "precision": precision, "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "threads": torch.get_num_threads(), "parameters": sum(p.numel() for p in method.encoder.parameters()),
        "step_ms": 1000 * step, "step_cpu_ms": 1000 * median(computed[1:]), "load": os.getloadavg()[0],
        "steps_ms": [1000 * each for each in seconds[1:]], "images_a_second": size / step,
        "peak_mib": peak.mib, "loss": float(loss.detach()),
    }  # fmt: skip


class _Peak:
    """The most memory while it is active: on a GPU of torch's allocator, else of the process beyond `before`, looked at often."""

    def __init__(self, device: str, before: float) -> None:
        self.device, self.before, self.mib = device, before, 0.0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        if self.device == "cpu":
            self._watcher.start()
        else:
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device != "cpu":
            self.mib = torch.cuda.max_memory_allocated() / 2**20
            return
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.mib = max(self.mib, _resident() - self.before)


def _resident() -> float:
    """MiB of this process in memory; where /proc is not there its highest so far."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _line(row: dict[str, Any]) -> str:
    name = row["network"] + (", recomputed" if row["checkpoint"] else "")
    size = f"{row['height']} x {row['width']}"
    return (
        f"{name:28} {size:9} {row['parameters'] / 1e6:5.1f} M {row['step_ms']:8.0f} ms/step "
        f"({row['step_cpu_ms']:6.0f} of the processor) "
        f"{row['images_a_second']:7.1f} images/s {row['peak_mib']:8.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=["32-true", *AUTOCAST], default="32-true")
    parser.add_argument("--checkpoint", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.batch % IMAGES or given.batch < 2 * IMAGES:
        parser.error(f"--batch {given.batch}: expected a multiple of {IMAGES}, at least {2 * IMAGES}")
    found = rows(
        given.networks, device=given.device, batch=given.batch, steps=given.steps, precision=given.precision,
        checkpoint=given.checkpoint, threads=given.threads,
    )  # fmt: skip
    if given.out is not None:
        given.out.write_text(json.dumps({"machine": machine(), "rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
