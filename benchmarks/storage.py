"""Images per second of `crossreid embed` from files, from object storage, and with torchrun and Ray, in one run.

    python benchmarks/storage.py --json benchmarks/results/storage_cpu.json

The store is a local S3 server (moto, in its own process on the same cores), as it is and with 20 ms added to each
request. "One at a time" requests each object when it is decoded; the other rows do what `crossreid embed` does, which
reads ahead with 16 threads. Each round alternates between all of them; ratios are computed per round, and their median
is reported, since other work may share the machine. torchrun and Ray are whole commands including their start, on the
same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests" / "support")]  # also where this file is run from elsewhere

LATENCY = 0.02
BATCH, CHUNK = 32, 128


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Objects are asked for when they are decoded, as files are."""
    from crossreid.data import evaluation_loading, reading_ahead

    threads, kept = reading_ahead.THREADS, evaluation_loading.ReadingAhead
    reading_ahead.THREADS = 1
    evaluation_loading.ReadingAhead = partial(kept, ahead=0)
    try:
        yield
    finally:
        reading_ahead.THREADS, evaluation_loading.ReadingAhead = threads, kept


@contextmanager
def reached(endpoint: str) -> Iterator[None]:
    """The store at an endpoint is the one that fsspec reaches."""
    import fsspec

    from crossreid.data import object_storage

    fsspec.config.conf["s3"] = {"endpoint_url": endpoint}
    object_storage._OPEN = {}
    yield


def stored(endpoint: str, images: Path) -> None:
    from crossreid.data import object_storage
    from crossreid.data.addresses import Address

    with reached(endpoint):
        object_storage._files("s3://photos")[0].mkdir("photos")
        paths = sorted(images.iterdir())
        object_storage.in_threads(
            lambda path: (Address("s3://photos") / path.name).write_bytes([path.read_bytes()]), paths
        )


def seconds_of(run: Path, source: str, out: Path) -> float:
    """Of one job from its listing to its finished folder, in this process with one loader process."""
    from crossreid.inference.bulk.job import embed_records
    from crossreid.inference.open_model import open_model
    from crossreid.inference.sources import source_records

    model = open_model(run, device="cpu")
    begun = time.perf_counter()
    embed_records(model, source_records(source), out, batch=BATCH, chunk=CHUNK, workers=1)
    taken = time.perf_counter() - begun
    shutil.rmtree(out)
    return taken


def command_seconds(start: list[str], run: Path, images: Path, out: Path, *more: str) -> float:
    command = [*start, "-m", "crossreid", "embed", str(run), str(images), "--precision", "float32", "--batch", str(BATCH),
               "--chunk", str(CHUNK), "--out", str(out), *more]  # fmt: skip
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    taken = time.perf_counter() - begun
    shutil.rmtree(out)
    return taken


def measured(folder: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what was measured."""
    from embedding import make_images, make_run
    from local_s3 import ENVIRONMENT, local_s3

    os.environ.update(ENVIRONMENT)
    run, images, out = folder / "run", folder / "images", folder / "out"
    make_run(run, "variational_distillation", "resnet10t", (80, 40))
    make_images(images, count, (128, 64))
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    with local_s3() as near, local_s3(LATENCY) as far:
        for endpoint in (near, far):
            stored(endpoint, images)
        seconds_of(run, str(images), out)  # what the first of all takes longer is nobody's
        for _ in range(rounds):
            note("files", seconds_of(run, str(images), out))
            note("file://", seconds_of(run, images.as_uri(), out))
            for name, endpoint in (("s3://", near), ("s3://, 20 ms", far)):
                with reached(endpoint):
                    note(name, seconds_of(run, "s3://photos", out))
                    with one_at_a_time():
                        note(f"{name}, one at a time", seconds_of(run, "s3://photos", out))
    python = [sys.executable]
    torchrun = [*python, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for _ in range(rounds):
        note("a command", command_seconds(python, run, images, out))
        note("torchrun, 2 processes", command_seconds(torchrun, run, images, out))
        note("--engine ray", command_seconds(python, run, images, out, "--engine", "ray"))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--images", type=int, default=512)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    import torch

    from machine import machine

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measured(Path(folder), given.images, given.rounds)
    commands = ("a command", "torchrun, 2 processes", "--engine ray")
    rows: list[dict[str, Any]] = []
    for name, taken in seconds.items():
        beside = seconds["a command" if name in commands else "files"]
        ratio = median(other / own for own, other in zip(taken, beside, strict=True))
        rows.append({"what": name, "images_per_second": round(given.images / median(taken), 1),
                     "beside": "a command" if name in commands else "files", "ratio": round(ratio, 2),
                     "seconds": [round(one, 2) for one in taken]})  # fmt: skip
    table = Table("what", "images per second", "beside", "times as fast")
    for row in rows:
        table.add_row(row["what"], str(row["images_per_second"]), row["beside"], f"{row['ratio']:.2f}")
    Console().print(table)
    if given.json:
        about = {
            "machine": machine(),
            "command": " ".join(["python", *sys.argv]),
            "images": given.images,
            "rounds": given.rounds,
        }
        given.json.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
