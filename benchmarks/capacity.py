"""From one laptop to a thousand cameras: the cores, bytes and processes needed, from measured constants.

    python benchmarks/capacity.py measure RUN --json benchmarks/results/capacity_cpu.json
    python benchmarks/capacity.py plan --cameras 1000 --people-per-hour 120

`measure` fills an in-process gallery and, with --milvus ADDRESS, one in Milvus. It measures the size of an entry, how
fast entries are added and searches answered, and the memory of a process that has opened a run. `plan` computes with
that file and with the one of docs/service.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent))

RESULTS = Path(__file__).resolve().parent / "results"
DIMENSION, PART, K = 256, 2_000, 10
FULL = 0.5  # of what a machine can do, that it is asked to do
IN_PROCESS = 5_000_000  # entries: what one process opens, keeps in memory and searches in about a second


def resident() -> int:
    """Bytes of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def of_gallery(location: str, count: int, **options: Any) -> dict[str, Any]:
    """Entries per second, searches per second (32 at once), and bytes of an entry on disk where they are on this machine's."""
    from crossreid.galleries import Entries, open_gallery

    rng = np.random.default_rng(0)
    with open_gallery(location, model="5e1f" * 16, dimension=DIMENSION, **options) as gallery:
        began = time.perf_counter()
        for start in range(0, count, PART):
            rows = rng.standard_normal((min(PART, count - start), DIMENSION), dtype=np.float32)
            ids = [f"cam{row % 7:03}/{start + row:09}.jpg" for row in range(len(rows))]
            gallery.add(Entries(rows, ids=ids, sources=ids))
        adding = time.perf_counter() - began
        queries = rng.standard_normal((32, DIMENSION), dtype=np.float32)
        gallery.search(queries, K)
        began, asked = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            gallery.search(queries, K)
            asked += len(queries)
        searching = time.perf_counter() - began
        size = gallery.stats().bytes
    return {
        "entries": count, "entries per second": count / adding, "searches per second": asked / searching,
        "bytes an entry": None if size is None else size / count,
    }  # fmt: skip


def of_run(run: Path) -> dict[str, Any]:
    """What a process that serves a run holds, and how many images per second its network embeds."""
    import torch

    from crossreid.inference.open_model import open_model

    model = open_model(run)
    images = torch.randn(32, 3, model.preprocessing.height, model.preprocessing.width)
    modalities = torch.zeros(32, dtype=torch.int64)
    model.embed(images, modalities)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        model.embed(images, modalities)
        count += 32
    return {
        "method": model.method, "input": [model.preprocessing.height, model.preprocessing.width],
        "images per second": count / (time.perf_counter() - began), "threads": torch.get_num_threads(), "bytes resident": resident(),
    }  # fmt: skip


def of_limits(folder: Path) -> dict[str, float]:
    """Microseconds that the limits of a request take: of one process, and shared by the workers of a machine."""
    from crossreid.service.siblings import SharingSiblings, Siblings, prepare

    prepare(folder, 128)
    found = {}
    for name, siblings in (("alone", Siblings(128)), ("shared", SharingSiblings(folder, 128, 0, 2))):
        best = math.inf
        for _ in range(300):
            began = time.perf_counter()
            for _ in range(20):
                siblings.buckets.wait("asks desk", 1e9, 1e9)
                with siblings.shares.place("desk"):
                    pass
            best = min(best, (time.perf_counter() - began) / 20)
        found[name] = 1e6 * best
    return found


def measure(run: Path, count: int, address: str | None) -> dict[str, Any]:
    from machine import machine

    folder = Path(tempfile.mkdtemp())
    try:
        result = {
            "machine": machine(), "load average": os.getloadavg(), "dimension": DIMENSION, "run": of_run(run),
            "limits, microseconds a request": of_limits(folder), "in process": of_gallery(str(folder / "gallery"), count),
        }  # fmt: skip
        if address is not None:
            result["Milvus"] = of_gallery(address, count, collection=f"capacity{time.time_ns()}")
    finally:
        shutil.rmtree(folder)
    return result


def constants() -> dict[str, float]:
    """What `plan` counts with, each from a file of benchmarks/results."""

    def read(name: str) -> Any:
        return json.loads((RESULTS / name).read_text(encoding="utf-8"))

    service, mine = read("search_service_cpu.json"), read("capacity_cpu.json")
    (row,) = [
        row for row in service["rows"] if (row["network"], row["runtime"], row["batch"]) == ("resnet18", "torch", 32)
    ]
    return {
        "searches or enrolments per second, a machine of 2 cores": row["requests per second"],
        "bytes resident, a worker": row["GiB after"] * 2**30,
        "bytes an entry on disk": mine["in process"]["bytes an entry"],
        "bytes an entry in memory": 4.0 * mine["dimension"],
        "of HNSW, times the memory": 1.6,
    }


def plan(
    cameras: int,
    people_per_hour: float,
    images_a_person: float,
    searches_per_hour: float,
    days: float,
    known: dict[str, float],
) -> dict[str, float | str]:
    """What so many cameras take. Raises `ValueError` for numbers below 0."""
    if min(cameras, people_per_hour, images_a_person, searches_per_hour, days) < 0:
        raise ValueError("expected numbers of 0 or more.")
    enrolled = cameras * people_per_hour * images_a_person / 3600
    asked = enrolled + searches_per_hour / 3600
    entries = enrolled * 86_400 * days
    machines = max(1, math.ceil(asked / (FULL * known["searches or enrolments per second, a machine of 2 cores"])))
    memory = entries * known["bytes an entry in memory"]
    return {
        "images enrolled per second": enrolled, "requests per second": asked, "entries kept": entries,
        "GB of vectors in memory, exact": memory / 1e9, "GB in memory, HNSW": memory * known["of HNSW, times the memory"] / 1e9,
        "GB on disk": entries * known["bytes an entry on disk"] / 1e9,
        "machines of 2 cores, half busy": machines,
        "GB resident of their workers, one a machine": machines * known["bytes resident, a worker"] / 1e9,
        "gallery": "in process" if machines == 1 and entries <= IN_PROCESS else "Milvus",
    }  # fmt: skip


def table(rows: list[tuple[str, dict[str, float | str]]]) -> str:
    """Plans side by side, as docs/scaling.md shows them."""
    lines = [f"| | {' | '.join(name for name, _ in rows)} |", "|---" * (len(rows) + 1) + "|"]
    for name in rows[0][1]:
        values = [found[name] for _, found in rows]
        cells = [each if isinstance(each, str) else f"{each:,.0f}" if each >= 10 else f"{each:.2g}" for each in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    measuring = parts.add_parser("measure")
    measuring.add_argument("run", type=Path)
    measuring.add_argument("--entries", type=int, default=20_000)
    measuring.add_argument("--milvus", help="address of a Milvus server")
    measuring.add_argument("--json", type=Path)
    planning = parts.add_parser("plan")
    planning.add_argument(
        "--cameras", type=int, action="append", help="can be given several times; 1, 10, 100, 1000 by default"
    )
    planning.add_argument("--people-per-hour", type=float, default=120, help="people who pass one camera per hour")
    planning.add_argument("--images-a-person", type=float, default=4, help="images enrolled per person")
    planning.add_argument(
        "--searches-per-hour", type=float, default=600, help="searches per hour by all users together"
    )
    planning.add_argument("--days", type=float, default=30, help="days that entries are kept")
    given = parser.parse_args()
    if given.part == "measure":
        result = measure(given.run, given.entries, given.milvus)
        text = json.dumps(result, indent=2) + "\n"
        print(text)
        if given.json is not None:
            given.json.write_text(text, encoding="utf-8")
        return
    known = constants()
    print(
        table([
            (
                f"{count:,} camera{'s' if count != 1 else ''}",
                plan(count, given.people_per_hour, given.images_a_person, given.searches_per_hour, given.days, known),
            )
            for count in given.cameras or (1, 10, 100, 1000)
        ])
    )  # fmt: skip


if __name__ == "__main__":
    main()
