"""Seconds from the start of a process until it can open runs: torch alone, this package, and with timm imported in the
ordinary way; and seconds of whole commands, against those of an earlier checkout.

    python benchmarks/startup.py --json benchmarks/results/startup_cpu.json
    python benchmarks/startup.py --commands --before EARLIER/src --json benchmarks/results/startup_commands_cpu.json

Each round starts a process of each kind in turn; ratios are computed per round, and their median is reported. The first
round is not counted: it reads files from disk that later rounds find in memory, and fills compilation caches.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from crossreid.data.synthetic.world import synthesise
from crossreid.files import write_json
from machine import machine

OPENS = "import crossreid; crossreid.open_model; crossreid.embed; crossreid.evaluate"
STARTS = {"torch alone": "import torch", "crossreid": OPENS, "crossreid, timm as it comes": f"import timm; {OPENS}"}


# What each of these commands has loaded when it begins with its work.
ROOMS = {
    "evaluate": "crossreid.runs.evaluate, crossreid.evaluation.external",
    "embed": "crossreid.inference.embed",
    "train": "crossreid.runs.train",
    "export": "crossreid.inference.exporting.export",
    "serve": "crossreid.service.application",
}


def commands(folder: Path) -> dict[str, list[str]]:
    """Arguments of Python for whole commands on small files in `folder`, and for the rooms of those that need a run."""
    rng = np.random.default_rng(0)
    for name, count in (("queries", 300), ("gallery", 600)):
        ids = rng.integers(0, 60, count)
        np.savez(
            folder / f"{name}.npz",
            embeddings=rng.normal(size=(count, 128)),
            identities=ids,
            cameras=rng.integers(1, 7, count),
        )
    world = synthesise(folder / "world", "sysu-mm01", 6, 0, images_per_camera=2, size=(64, 32))
    rank = ["rank", "--queries", f"{folder}/queries.npz", "--gallery", f"{folder}/gallery.npz", "--protocol"]
    whole = {
        "--help": ["--help"], "check": ["check", "sysu-mm01", str(world)], "rank": [*rank, "market-1501"],
        "rank --rerank": [*rank, "market-1501", "--rerank", "k-reciprocal"], "recipe --keys": ["recipe", "--keys"],
    }  # fmt: skip
    return {name: ["-m", "crossreid", *words] for name, words in whole.items()} | {
        f"{name}, its imports": ["-c", f"import {rooms}"] for name, rooms in ROOMS.items()
    }


def measured_commands(before: Path, rounds: int) -> dict[str, Any]:
    """Seconds by command and round, of this checkout and of the source in `before`, and of torch alone."""
    here = Path(__file__).resolve().parent.parent / "src"
    seconds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        starts = {"torch alone": ["-c", "import torch"], **commands(Path(folder))}
        for _ in range(rounds + 1):
            for name, arguments in starts.items():
                for side, source in (("before", before), ("now", here)):
                    began = time.perf_counter()
                    subprocess.run(
                        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(source)}, check=True,
                        stdout=subprocess.DEVNULL,
                    )  # fmt: skip
                    seconds.setdefault(name, {"before": [], "now": []})[side].append(time.perf_counter() - began)
    rows = {}
    print("| | before, s | now, s | now / before |\n|---|---:|---:|---:|")
    for name, sides in seconds.items():
        old, new = sides["before"][1:], sides["now"][1:]
        share = median(b / a for a, b in zip(old, new, strict=True))
        rows[name] = {"before": old, "now": new, "now / before": share}
        print(f"| {name} | {median(old):.1f} | {median(new):.1f} | {share:.2f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of counted rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--commands", action="store_true", help="time whole commands, against those of --before")
    parser.add_argument("--before", type=Path, help="src folder of an earlier checkout")
    given = parser.parse_args()
    if given.commands:
        if given.before is None:
            parser.error("--commands needs --before, the src folder of an earlier checkout.")
        rows = measured_commands(given.before.resolve(), given.rounds)
        if given.json:
            write_json(given.json, {"machine": machine(), "commands": rows})
        return
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(given.rounds + 1):
        for name, code in STARTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - began)
    counted = {name: values[1:] for name, values in seconds.items()}
    plain = counted["crossreid, timm as it comes"]
    print("| | seconds | of those with timm as it comes |\n|---|---:|---:|")
    for name, values in counted.items():
        share = median(a / b for a, b in zip(values, plain, strict=True))
        print(f"| {name} | {median(values):.1f} | {share:.2f} |")
    if given.json:
        write_json(given.json, {"machine": machine(), "seconds": counted})


if __name__ == "__main__":
    main()
