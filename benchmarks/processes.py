"""How much more two processes train than one, each with half the threads, and what keeps it below twice as much.

    python benchmarks/processes.py --json benchmarks/results/processes_cpu.json

The same steps on the same batch (P x K images) are trained in turn by one process with half the threads of this
machine; by two such processes, started by torchrun, with half the batch each; by two independent processes with half
the batch each, which share only the machine's memory and caches; and by one process with all threads. The gap between
two together and two independent ones is due to gradients, gathers and waiting; the gap between two independent ones and
twice one is due to the machine and to smaller batches. Seconds are medians over steps of all rounds; processor seconds,
which other programs disturb less, are sums over processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from crossreid.data.batch import Batch
from crossreid.files import write_json
from crossreid.methods import METHODS, build_method
from crossreid.training.loop import fit
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from machine import machine
from train_step import random_batch

ONE, TOGETHER, APART, ALL = "one process", "two processes", "two processes apart", "one process, all threads"


def train(arguments: argparse.Namespace) -> None:
    """Steps of `fit` in this process, one of those that torchrun started or one by itself; its seconds are written into a file."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    options = TrainingOptions(epochs=1, accelerator="cpu", devices=world, precision=arguments.precision)
    fabric = make_fabric(options)
    given: dict[str, Any] = {"backbone": {"name": arguments.backbone, "weights": "none"}}
    method = build_method(METHODS[arguments.method].options(**given), 395)
    whole = random_batch(arguments.identities, arguments.images, arguments.height, arguments.width, 1)
    rows = len(whole.labels) // (world * arguments.parts)
    share = Batch(*(None if part is None else part[rank * rows : (rank + 1) * rows] for part in whole))
    seconds: list[float] = []
    processor: list[float] = []

    def batches(epoch: int, first: int) -> Iterator[Batch]:
        for _ in range(arguments.warmup + arguments.steps):
            start, used = time.perf_counter(), time.process_time()
            yield share
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - used)

    with tempfile.TemporaryDirectory() as own:
        out = Path(fabric.broadcast(own))
        steps = arguments.warmup + arguments.steps
        fit(method, batches, steps_per_epoch=steps, options=options, out=out, fabric=fabric, recipe={})
    kept = {"seconds": seconds[arguments.warmup :], "processor": processor[arguments.warmup :]}
    write_json(arguments.into / f"{arguments.number + rank}.json", kept)


def started(way: str, into: Path, given: list[str], threads: int) -> list[subprocess.Popen[bytes]]:
    """The processes of one way to train."""
    of_one = threads if way == ALL else max(1, threads // 2)
    parts = 2 if way == APART else 1
    environment = {**os.environ, "OMP_NUM_THREADS": str(of_one), "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if way == TOGETHER else []
    more = ["--into", str(into), "--threads", str(of_one), "--parts", str(parts)]
    return [
        subprocess.Popen(
            [sys.executable, *launch, __file__, *given, *more, "--number", str(number)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(parts)
    ]


def measure(arguments: argparse.Namespace, given: list[str]) -> dict[str, Any]:
    """Seconds and processor seconds of a step of the whole batch, for each way; rounds of all of them, one after the other."""
    found: dict[str, dict[str, list[float]]] = {
        way: {"seconds": [], "processor": []} for way in (ONE, TOGETHER, APART, ALL)
    }
    for _ in range(arguments.rounds):
        for way, kept in found.items():
            with tempfile.TemporaryDirectory() as folder:
                running = started(way, Path(folder), given, arguments.threads)
                if any(process.wait() for process in running):
                    raise SystemExit(f"{way}: a process failed; run it by itself to see why")
                told = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
            # Together all wait for the last; apart each has half of the batch.
            kept["seconds"] += [max(each) for each in zip(*(one["seconds"] for one in told), strict=True)]
            kept["processor"] += [sum(each) for each in zip(*(one["processor"] for one in told), strict=True)]
    images = arguments.identities * arguments.images
    rows = {
        way: {
            "images_per_second": images / median(kept["seconds"]),
            "images_per_processor_second": images / median(kept["processor"]),
            **kept,
        }
        for way, kept in found.items()
    }
    speed = {way: row["images_per_second"] for way, row in rows.items()}
    work = {way: row["images_per_processor_second"] for way, row in rows.items()}
    return {
        "machine": machine(),
        "settings": {key: value for key, value in vars(arguments).items() if not isinstance(value, Path)},
        "times_of_one": {way: speed[way] / speed[ONE] for way in rows},
        "work_of_one": {way: work[way] / work[ONE] for way in rows},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), default="baseline")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    for name, default in (
        ("height", 128),
        ("width", 64),
        ("identities", 16),
        ("images", 4),
        ("steps", 8),
        ("warmup", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of this machine to use"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    for name in ("parts", "number"):  # of the processes that this one starts
        parser.add_argument(f"--{name}", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.into is not None:
        train(arguments)
        return
    result = measure(arguments, sys.argv[1:])
    table = Table("", "images per second", "times one", "images per processor second", "times one")
    for way, row in result["rows"].items():
        speed, work = row["images_per_second"], row["images_per_processor_second"]
        table.add_row(
            way,
            f"{speed:.1f}",
            f"{result['times_of_one'][way]:.2f}",
            f"{work:.1f}",
            f"{result['work_of_one'][way]:.2f}",
        )
    Console().print(table)
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
