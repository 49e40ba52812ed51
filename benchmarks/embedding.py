"""Images per second of `crossreid embed`, against one image at a time and against the bare network, in one run.

    python benchmarks/embedding.py --json benchmarks/results/embedding_cpu.json

One at a time is how released extractors work: open a file with Pillow, apply torchvision's transform, pass a batch of
one through the network as it was trained, append; with one thread and with all, and the faster of the two counts.
Embedding is `embed_records` itself, from files to the finished folder: one process per core with one thread each, as
torchrun would start them. The bare network is the same network in the same arithmetic in the same processes, on batches
already in memory. Each round alternates between all of them; ratios are computed per round, and their median is
reported, since other work may share the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).resolve().parent))  # for machine.py, also where this file is run from elsewhere

# Method, network, network input, size of the files, how many of them.
CASES = {
    "resnet18, 256 x 128": ("baseline", "resnet18", (256, 128), (256, 128), 384),
    "resnet18, 128 x 64": ("baseline", "resnet18", (128, 64), (128, 64), 768),
    "the demo's network, 80 x 40": ("variational_distillation", "resnet10t", (80, 40), (128, 64), 1024),
    "the recipes' smallest, 64 x 32": ("variational_distillation", "test_resnet", (64, 32), (128, 64), 4096),
}
BATCH = 64


def make_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """`count` JPEGs of blurred noise, about as hard to decode as photographs of that size."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        noise = Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(1.5)).save(folder / f"{number:05d}.jpg", quality=90)


def make_run(folder: Path, method: str, network: str, size: tuple[int, int]) -> None:
    """A run as training leaves it; how fast it is does not depend on what it has learnt."""
    import torch

    from crossreid.methods import build_method
    from crossreid.runs.recipe import make_recipe
    from crossreid.training.checkpoint import Checkpoint, save_checkpoint

    data = {"name": "manifest", "root": "nowhere", "height": size[0], "width": size[1]}
    backbone = {"name": network, "weights": "none"}
    recipe = make_recipe({"data": data, "method": {"name": method, "backbone": backbone}})
    torch.manual_seed(0)
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe.as_yaml())
    save_checkpoint(folder / "last.safetensors", Checkpoint({"model": build_method(recipe.method, 100).state_dict()}))


def one_at_a_time(network: Any, paths: list[Path], size: tuple[int, int]) -> Any:
    import torch
    from torchvision import transforms

    from crossreid.data.normalisation import IMAGENET

    transform = transforms.Compose(
        [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(IMAGENET.mean, IMAGENET.std)],
    )
    rows = []
    with torch.no_grad():
        for path in paths:
            image = transform(Image.open(path).convert("RGB")).unsqueeze(0)
            rows.append(network.embed(image, torch.zeros(1, dtype=torch.int64)).numpy())
    return np.concatenate(rows)


def work(rank: int, world: int, port: int, place: Path, size: tuple[int, int], commands: Connection) -> None:
    """A process that carries out commands and answers with seconds; all start together."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch

    from crossreid.data.evaluation_loading import planned_batches
    from crossreid.inference.bulk.job import embed_records
    from crossreid.inference.open_model import open_model
    from crossreid.inference.processes import process_group
    from crossreid.inference.sources import source_records

    model = open_model(place / "run", device="cpu")
    as_trained = open_model(place / "run", device="cpu", fuse=False).network.to(memory_format=torch.contiguous_format)
    records = source_records(str(place / "images"))
    plan = [range(first, min(first + BATCH, len(records))) for first in range(0, len(records), BATCH)]
    ready = list(planned_batches(records, plan[:8], height=size[0], width=size[1]))
    with process_group() as group:
        while (command := commands.recv()) is not None:
            what, precision, threads, count, alone = command
            torch.set_num_threads(threads)
            if alone and rank != 0:
                commands.send(0.0)
                continue
            model.with_precision(precision)
            if not alone:
                group.wait()
            start = time.perf_counter()
            if what == "single":
                one_at_a_time(as_trained, [record.path for record in records[:count]], size)
            elif what == "bare":
                own = [number for number in range(len(plan)) if number % (1 if alone else world) == rank]
                for number in own:
                    batch = ready[number % len(ready)]
                    model.embed(batch.images[: len(plan[number])], batch.modalities[: len(plan[number])])
            else:
                out = place / "out"
                chunk = max(BATCH, len(records) // (3 * world) // BATCH * BATCH)
                embed_records(model, records, out, precision=precision, batch=BATCH, chunk=chunk, group=group)
            if not alone:
                group.wait()
            commands.send(time.perf_counter() - start)
            if what == "embed" and rank == 0:
                shutil.rmtree(place / "out")


def measure(case: str, world: int, rounds: int, images: int | None, singles: int) -> dict[str, Any]:
    method, network, size, file_size, count = CASES[case]
    count = images or count
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_images(place / "images", count, file_size)
        make_run(place / "run", method, network, size)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        pipes, children = [], []
        for rank in range(world):
            ours, theirs = context.Pipe()
            child = context.Process(target=work, args=(rank, world, port, place, size, theirs), daemon=True)
            child.start()
            pipes.append(ours)
            children.append(child)

        def speed(
            what: str, precision: str = "float32", threads: int = 1, images: int = count, alone: bool = False
        ) -> float:
            for pipe in pipes:
                pipe.send((what, precision, threads, images, alone))
            return images / max(pipe.recv() for pipe in pipes)

        kinds = {
            "one at a time, 1 thread": lambda: speed("single", images=singles, alone=True),
            f"one at a time, {world} threads": lambda: speed("single", threads=world, images=singles, alone=True),
            "bare, float32": lambda: speed("bare"),
            "embed, float32": lambda: speed("embed"),
            "bare, bf16": lambda: speed("bare", "bf16"),
            "embed, bf16": lambda: speed("embed", "bf16"),
        }
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(rounds + 1):  # the first, in which everything is prepared, is not counted
            for kind, call in kinds.items():
                found = call()
                if turn:
                    taken[kind].append(found)
        for pipe, child in zip(pipes, children, strict=True):
            pipe.send(None)
            child.join()
    return {"images": count, "images_one_at_a_time": singles, "images_per_second": taken, **ratios(taken)}


def ratios(taken: dict[str, list[float]]) -> dict[str, Any]:
    """Of each round, and their medians. One at a time is the number of threads that is faster on the whole."""
    single = max((kind for kind in taken if kind.startswith("one at a time")), key=lambda kind: median(taken[kind]))
    best = max(("float32", "bf16"), key=lambda precision: median(taken[f"embed, {precision}"]))

    def by(upper: str, lower: str) -> float:
        return median(a / b for a, b in zip(taken[upper], taken[lower], strict=True))

    return {
        "one_at_a_time": single,
        "faster_precision": best,
        "times_one_at_a_time": {p: by(f"embed, {p}", single) for p in ("float32", "bf16")},
        "share_of_bare": {p: by(f"embed, {p}", f"bare, {p}") for p in ("float32", "bf16")},
        "bf16_gain": by("embed, bf16", "embed, float32"),
    }


def markdown_table(results: dict[str, Any]) -> str:
    """What docs/search.md shows of the cases: images per second of the faster precision, and the ratios of both."""
    lines = [
        "| network, input | one at a time | `crossreid embed` | times one at a time (float32) | of the bare network (float32) |",
        "|---|---|---|---|---|",
    ]
    for case, found in results.items():
        speeds, best = found["images_per_second"], found["faster_precision"]
        times, share = found["times_one_at_a_time"], found["share_of_bare"]
        lines.append(
            f"| {case} | {median(speeds[found['one_at_a_time']]):.0f} | {median(speeds[f'embed, {best}']):.0f} ({best}) | "
            f"{times[best]:.1f} ({times['float32']:.1f}) | {100 * share[best]:.0f} % ({100 * share['float32']:.0f} %) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=CASES, help="run only this case; can be given several times")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="one per core by default")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed rounds")
    parser.add_argument("--images", type=int, help="images to embed per round; the default depends on the case")
    parser.add_argument("--singles", type=int, default=32, help="images to embed one at a time per round")
    parser.add_argument(
        "--json", type=Path, help="also write the numbers to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    import torch

    results = {
        case: measure(case, arguments.processes, arguments.rounds, arguments.images, arguments.singles)
        for case in arguments.case or CASES
    }
    table = Table("", "one at a time", "embed, float32", "embed, bf16", "times one at a time", "of the bare network")
    for case, found in results.items():
        speeds = found["images_per_second"]
        best = found["faster_precision"]
        table.add_row(
            case,
            f"{median(speeds[found['one_at_a_time']]):.0f}",
            *(f"{median(speeds[f'embed, {precision}']):.0f}" for precision in ("float32", "bf16")),
            f"{found['times_one_at_a_time'][best]:.1f} ({best})",
            f"{100 * found['share_of_bare'][best]:.0f} %",
        )
    Console().print(table)
    if arguments.json:
        from machine import machine

        facts = machine() | {
            "processes": arguments.processes,
            "batch": BATCH,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(json.dumps({"machine": facts, "cases": results}, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
