"""All speed figures on one GPU: steps at the shapes of the recipes, the gain from compiling, whole runs, ranking.

    python benchmarks/gpu.py --out benchmarks/results/gpu
    python benchmarks/gpu.py --out benchmarks/results --estimate H200     # no GPU: by arithmetic

Needs torch, timm, Lightning Fabric, pydantic and this checkout (with PYTHONPATH=src, no installation), no data set and
no network. Writes OUT/gpu.json after each row and OUT/gpu.md at the end: a table with the bound of each step
(`limits.py`) and its distance from that. A case that does not fit the card, or that would start after --minutes, is
named with the reason. `--estimate` counts the same steps without computing any (torch's fake tensors) and divides by
the figures of the card's data sheet; its output is labelled as an estimate. `--small --device cpu` runs all of it in a
minute or two, with sizes that say nothing about speed.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_map_only

from crossreid.data.batch import Batch
from crossreid.data.composition import composition_of_sets
from crossreid.data.synthetic.world import synthesise
from crossreid.data.training_loading import TrainLoader
from crossreid.errors import CrossreidError
from crossreid.files import write_json, write_text
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.methods.view_distillation import ViewDistillation
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.run import open_split
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.teacher_student import stage_recipes
from crossreid.training.loop import fit
from crossreid.training.processes import make_fabric
from limits import Rates, Work, rates_of, seconds, work_of
from machine import machine
from train_step import all_encoders, encoder_inputs, forward_backward

CLASSES, ROUNDS, WARM_UP = 395, 3, 3
# A step of each recipe: what it is called here, its file, the run of it, and what is changed.
STEPS: tuple[tuple[str, str, str | None, tuple[str, ...]], ...] = (
    ("VD official, float32", "vd_sysu-mm01_official", None, ("training.precision=32-true",)),
    ("VD official, bf16", "vd_sysu-mm01_official", None, ()),
    ("VD, bf16", "vd_sysu-mm01", None, ()),
    ("VD paper, bf16", "vd_sysu-mm01_paper", None, ()),
    ("baseline, bf16", "vd_sysu-mm01", None, ("method={name: baseline}",)),
    ("AGW official, float32", "agw_sysu-mm01_official", None, ()),
    ("AGW, bf16", "agw_sysu-mm01", None, ()),
    ("IDKL official, bf16", "idkl_sysu-mm01_official", None, ()),
    ("IDKL, bf16", "idkl_sysu-mm01", None, ()),
    ("VKD official, teacher, float32", "vkd_mars_official", "teacher", ()),
    ("VKD official, student, float32", "vkd_mars_official", "student", ()),
)
# Of data sheets: dense products per second, bytes per second; and a few microseconds to start an operation, as measured on others.
CARDS = {
    "H100": {"32-true": Rates(495e12, 3.35e12, 4e-6), "bf16-mixed": Rates(989e12, 3.35e12, 4e-6)},
    "H200": {"32-true": Rates(495e12, 4.8e12, 4e-6), "bf16-mixed": Rates(989e12, 4.8e12, 4e-6)},
}
# Images per second on one H200, 2026-11-27, of the code as it was; of the last two the best arrangement of bare losses and step.
BEFORE = {"VD official, float32": 573, "VD, bf16": 1346, "baseline, bf16": 4005}
# What is switched on by itself, for two of these.
SWITCHED = ("VD, bf16", "baseline, bf16")
SWITCHES: dict[str, tuple[str, ...]] = {"compiled": ("training.compile=true",)}
# Loader processes and `data.cache` of whole runs.
RUNS: tuple[tuple[str, int, str], ...] = (
    ("VD, bf16", 4, "none"),
    ("VD, bf16", 14, "none"),
    ("baseline, bf16", 14, "none"),
)
# What makes a case tiny; AGW's non-local blocks have to fit the smaller network.
SMALL = ("data.height=64", "data.width=32", "method.backbone.name=test_resnet", "data.sampler.identities=2")
SMALL_AGW = ("method.backbone.non_local=[0, 1, 1, 0]",)


@dataclass
class Bench:
    """What is shared by all cases: where they run, how large they are, until when, and where rows go."""

    device: torch.device
    out: Path
    small: bool
    steps: int
    end: float
    only: str
    rates: dict[str, Rates] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def rates_in(self, precision: str) -> Rates:
        if precision not in self.rates:
            self.rates[precision] = rates_of(self.device, precision, size=256 if self.small else 8192)
        return self.rates[precision]

    def add(self, what: str, case: Callable[[], dict[str, Any]]) -> None:
        """The row of a case, or why there is none; nothing where it is not asked for."""
        if self.only not in what:
            return
        start = time.monotonic()
        row: dict[str, Any] = {"what": what}
        if start > self.end:
            row |= {"left_out": "the time was over"}
        else:
            try:
                row |= case()
            except (CrossreidError, torch.OutOfMemoryError, ImportError) as error:
                row |= {"left_out": (str(error).splitlines() or [type(error).__name__])[0]}
            finally:
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
        row["took_seconds"] = time.monotonic() - start
        self.rows.append(row)
        self.keep()
        Console(width=150).print(line_of(row))

    def keep(self) -> None:
        held = {"machine": machine() | {"device": _device_name(self.device)}, "small": self.small, "rows": self.rows}
        write_json(self.out / "gpu.json", held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--sections", nargs="+", choices=tuple(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=10, help=f"steps per round; there are {ROUNDS} rounds")
    parser.add_argument("--minutes", type=float, default=8, help="no case starts after this many minutes")
    parser.add_argument("--only", default="", help="only cases whose title contains this")
    parser.add_argument(
        "--estimate", choices=tuple(CARDS), help="estimate by arithmetic, for a card that is not available"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks and images, to test the script itself")
    given = parser.parse_args()
    if given.estimate:
        estimate(given.estimate, given.out, given.only)
        return
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device here. Expected one, or --device cpu --small to try the script.")
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        torch.device(given.device),
        given.out,
        given.small,
        given.steps,
        time.monotonic() + 60 * given.minutes,
        given.only,
    )
    for name in given.sections:
        SECTIONS[name](bench)
    bench.keep()
    write_text(given.out / "gpu.md", markdown(bench))


def estimate(card: str, out: Path, only: str) -> None:
    """The steps' work at their real sizes, and the seconds that a card's data sheet allows: nothing is computed or measured."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, name, stage, changes in STEPS:
        if only not in title:
            continue
        recipe = stage_recipes(load_recipe(SHIPPED / f"{name}.yaml", changes), Path("run"), stage)[0][1]
        precision, batch = recipe.training.precision, noise(recipe)
        method = network_of(recipe)
        with FakeTensorMode() as fake:
            method, imagined = without_values(method, fake), tree_map_only(Tensor, fake.from_tensor, batch)
            work = step_work(
                method, imagined, partial(torch.autocast, "cpu", torch.bfloat16, enabled=precision != "32-true")
            )
        rates, images = CARDS[card][precision], batch.images.shape[:-3].numel()
        bounds = rates.bounds(work)
        rows.append(
            {
                "what": title, "images": images, "tflop": work.flops / 1e12, "gib_moved": work.bytes / 2**30,
                "operations": work.operations, "bounds_seconds": bounds, "limit": max(bounds, key=lambda key: bounds[key]),
                "in_turn_seconds": rates.in_turn(work), "images_per_second_at_most": images / rates.in_turn(work),
            }
        )  # fmt: skip
        Console(width=150).print(
            f"{title}: at most {rows[-1]['images_per_second_at_most']:,.0f} images/s, {rows[-1]['limit']}"
        )
    held = {"estimated_for": card, "by": "arithmetic; nothing was measured", "machine": machine(), "rows": rows}
    write_json(out / f"gpu_estimate_{card.lower()}.json", held)


def estimate_table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows of an estimate for `benchmarks/README.md`, with what was measured before the code was changed for speed."""
    lines = [
        "| step | product, ms | memory, ms | launches, ms | in turn, ms | images/s at most | before the change |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        bounds = " | ".join(f"{1e3 * row['bounds_seconds'][name]:.0f}" for name in ("product", "memory", "launches"))
        most, before = row["images_per_second_at_most"], BEFORE.get(row["what"])
        share = "" if before is None else f"{before:,} ({100 * before / most:.0f} %)"
        lines.append(f"| {row['what']} | {bounds} | {1e3 * row['in_turn_seconds']:.0f} | {most:,.0f} | {share} |")
    return "\n".join(lines)


def without_values(method: Method, fake: FakeTensorMode) -> Method:
    """A method whose weights have shapes only."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return method._apply(lambda one: one if isinstance(one, FakeTensor) else fake.from_tensor(one))
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def steps(bench: Bench) -> None:
    """A step of each recipe beside its bare encoders."""
    for title, name, stage, changes in STEPS:
        bench.add(
            title, lambda name=name, stage=stage, changes=changes: step(bench, recipe_of(bench, name, stage, changes))
        )


def switches(bench: Bench) -> None:
    """The same with what is not on by default."""
    for title, name, stage, changes in STEPS:
        for what, more in SWITCHES.items() if title in SWITCHED else ():
            own = (*changes, *more)
            bench.add(f"{title}, {what}", lambda n=name, s=stage, o=own: step(bench, recipe_of(bench, n, s, o)))


def runs(bench: Bench) -> None:
    """Whole runs on rendered people: images of files to weights."""
    by_title = {title: (name, stage, changes) for title, name, stage, changes in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "people"
        identities, each, size = (8, 4, (64, 32)) if bench.small else (300, 4, (256, 128))
        synthesise(root, "sysu-mm01", identities, 0, images_per_camera=each, size=size)
        for title, workers, cache in RUNS:
            own = min(workers, 1) if bench.small else workers
            name, stage, changes = by_title[title]
            data = (f"data.root={root}", f"data.workers={own}", *cache_options(cache, Path(folder)))
            bench.add(
                f"{title}, end to end, {own} loader processes, cache: {cache}",
                lambda n=name, s=stage, c=(*changes, *data): whole_run(bench, recipe_of(bench, n, s, c)),
            )


def cache_options(cache: str, folder: Path) -> tuple[str, ...]:
    return () if cache == "none" else (f"data.cache={cache}", f"data.cache_folder={folder / 'cache'}")


def ranking(bench: Bench) -> None:
    """Ranking and re-ranking, by `ranking.py`."""
    import ranking as cases

    for name, case in {"regdb": cases.CASES["regdb"]}.items() if bench.small else cases.CASES.items():
        bench.add(f"ranking: {name}", lambda case=case: {"ranking": case(bench.device.type)})


SECTIONS: dict[str, Callable[[Bench], None]] = {"steps": steps, "switches": switches, "runs": runs, "ranking": ranking}


def recipe_of(bench: Bench, name: str, stage: str | None, changes: Iterable[str]) -> Recipe:
    """A run of a recipe of the project, on this device."""
    small = SMALL + SMALL_AGW * name.startswith("agw") if bench.small else ()
    own = (*changes, *small, f"training.accelerator={bench.device.type}", "training.validate_every=1000")
    if bench.device.type == "cpu":
        own = (*own, "training.precision=32-true")
    recipe = load_recipe(SHIPPED / f"{name}.yaml", own)
    return stage_recipes(recipe, Path("run"), stage)[0][1]


def network_of(recipe: Recipe) -> Method:
    """A method with random weights; of a student with a teacher of the same kind."""
    options = without_download(recipe.method).with_cameras([0])
    if getattr(options, "teacher", None) is None:
        return build_method(options, CLASSES)
    alone = options.model_copy(update={"teacher": None, "start": "weights"})
    student = build_method(alone, CLASSES)
    assert isinstance(student, ViewDistillation)
    student.teach(build_method(alone, CLASSES))
    return student


def noise(recipe: Recipe) -> Batch:
    """A batch of the recipe's size, half of each identity's images infrared where its sampler balances modalities."""
    sampler = recipe.data.sampler
    labels = torch.arange(sampler.identities).repeat_interleave(sampler.images)
    modalities = (torch.arange(sampler.images) % 2).repeat(sampler.identities) * (sampler.balance == "modality")
    shape: tuple[int, ...] = (len(labels), 3, recipe.data.height, recipe.data.width)
    if (size := recipe.data.sets.size) > 1:
        modalities, shape = modalities[:, None].repeat(1, size), (len(labels), size, *shape[1:])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, labels, modalities, torch.zeros_like(modalities))
    return batch._replace(composition=composition_of_sets(labels, modalities))


def step(bench: Bench, recipe: Recipe) -> dict[str, Any]:
    """Seconds a step of `fit` takes and those of its bare encoders, in turns; what bounds it; the peak of memory."""
    options = recipe.training.model_copy(update={"epochs": 1, "checkpoint_steps": None})
    fabric = make_fabric(options)
    torch.manual_seed(0)
    method = network_of(recipe)
    rehearsal = copy.deepcopy(method).to(bench.device)
    batch = fabric.to_device(noise(recipe))
    with fabric.autocast():
        passes = encoder_inputs(rehearsal, batch)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    whole, bare, warm_up = [], [], []

    def encoders() -> None:
        forward_backward(all_encoders(rehearsal), passes, len(rehearsal.encoders), fabric.autocast)
        rehearsal.zero_grad(set_to_none=True)

    def batches(epoch: int, first: int) -> Iterator[Batch]:
        """Steps of a round follow each other without waiting for the device; encoders come between two rounds."""
        for count, into in [(WARM_UP, warm_up), *[(bench.steps, whole)] * ROUNDS]:
            seconds(lambda: None, bench.device)
            start = time.perf_counter()
            for _ in range(count):
                yield batch
            seconds(lambda: None, bench.device)
            into.append((time.perf_counter() - start) / count)
            bare.append(seconds(lambda count=count: [encoders() for _ in range(count)], bench.device) / count)

    with tempfile.TemporaryDirectory() as out:
        count = WARM_UP + ROUNDS * bench.steps
        fit(method, batches, steps_per_epoch=count, options=options, out=Path(out), fabric=fabric, recipe={})
    peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device.type == "cuda" else None
    rates = bench.rates_in(options.precision)
    work = step_work(rehearsal, batch, fabric.autocast)
    bounds = rates.bounds(work)
    took, images = min(whole), batch.images.shape[:-3].numel()
    return {
        "step_seconds": took,
        "images_per_second": images / took,
        "encoder_seconds": min(bare[1:]),
        "rest_percent": 100 * (took / min(bare[1:]) - 1),
        "first_steps_seconds": warm_up[0],
        "peak_gib": peak,
        "bounds_seconds": bounds,
        "limit": max(bounds, key=lambda name: bounds[name]),
        "times_the_limit": took / max(bounds.values()),
        "all_step_seconds": whole,
        "settings": {"precision": options.precision, "images": images, "size": [recipe.data.height, recipe.data.width]},
    }


def step_work(method: Method, batch: Batch, autocast: Callable[[], Any]) -> Work:
    """What losses and backward ask of the machine."""

    def once() -> None:
        with autocast():
            terms: list[Tensor] = list(method.losses(batch).values())
        torch.stack(terms).sum().backward()

    method.train()
    found = work_of(once)
    method.zero_grad(set_to_none=True)
    return found


class Waited:
    """The loader's batches, and how long was waited for them."""

    def __init__(self, loader: TrainLoader) -> None:
        self.loader, self.seconds, self.begun = loader, 0.0, 0.0

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]:
        batches = iter(self.loader(epoch, first))
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if self.begun:  # the first batch waits for processes to start
                self.seconds += time.perf_counter() - start
            if batch is None:
                return
            self.begun = self.begun or time.perf_counter()
            yield batch


def whole_run(bench: Bench, recipe: Recipe) -> dict[str, Any]:
    """Images per second of `fit` from files to weights, and of the loader alone; the share of time spent waiting for data."""
    split = open_split(recipe)
    options = recipe.training.model_copy(update={"epochs": 1 if bench.small else 3})
    fabric = make_fabric(options)
    loader = TrainLoader(split.train, recipe.data, seed=0)
    each = recipe.data.sampler.identities * recipe.data.sampler.images
    list(loader(0))  # starts the processes, and reads the files once
    alone = seconds(lambda: list(loader(1)), bench.device)
    waited = Waited(loader)
    with tempfile.TemporaryDirectory() as out:
        fit(
            build_method(without_download(recipe.method).with_cameras([0]), loader.classes),
            waited, steps_per_epoch=loader.steps_in, options=options, out=Path(out), fabric=fabric, recipe={},
        )  # fmt: skip
    took = time.perf_counter() - waited.begun
    steps = sum(loader.steps_in(epoch) for epoch in range(options.epochs)) - 1
    return {
        "images_per_second": steps * each / took,
        "loader_images_per_second": loader.steps_in(1) * each / alone,
        "waiting_percent": 100 * waited.seconds / took,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if bench.device.type == "cuda" else None,
    }


def line_of(row: dict[str, Any]) -> str:
    """A row on one line."""
    if "left_out" in row:
        return f"{row['what']}: left out, {row['left_out']}"
    if "ranking" in row:
        return f"{row['what']}: " + "; ".join(f"{case['case']} {case['seconds']:.3g} s" for case in row["ranking"])
    more = f", {row['rest_percent']:.0f} % over its encoders" if "rest_percent" in row else ""
    return f"{row['what']}: {row['images_per_second']:,.0f} images/s{more}"


def markdown(bench: Bench) -> str:
    """The rows as tables."""
    about = machine() | {"device": _device_name(bench.device)}
    text = [f"Measured on {about['device']}, {about['cores']} cores, torch {about['torch']}, {about['date']}.", ""]
    text += [
        "| step | ms | images/s | over its encoders | limit | times the limit | peak GiB |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    for row in bench.rows:
        if "step_seconds" in row:
            limit = f"{row['limit']}, {1e3 * max(row['bounds_seconds'].values()):.1f} ms"
            text.append(
                f"| {row['what']} | {1e3 * row['step_seconds']:.1f} | {row['images_per_second']:,.0f} | {row['rest_percent']:.0f} % "
                f"| {limit} | {row['times_the_limit']:.1f} | {_gib(row)} |"
            )
    text += ["", "| run | images/s | loader alone | waiting for data | peak GiB |", "|---|--:|--:|--:|--:|"]
    for row in bench.rows:
        if "waiting_percent" in row:
            text.append(
                f"| {row['what']} | {row['images_per_second']:,.0f} | {row['loader_images_per_second']:,.0f} "
                f"| {row['waiting_percent']:.0f} % | {_gib(row)} |"
            )
    text += ["", "| ranking | seconds | times the bare product | over a full sort |", "|---|--:|--:|--:|"]
    for case in (case for row in bench.rows for case in row.get("ranking", ())):
        ratios = (case.get("times the bare product"), case.get("ours over the sort"))
        shown = " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        text.append(f"| {case['case']} | {case['seconds']:.3g} | {shown} |")
    left = [f"* {row['what']}: {row['left_out']}" for row in bench.rows if "left_out" in row]
    return "\n".join([*text, *(["", "Left out:", "", *left] if left else [])]) + "\n"


def _gib(row: dict[str, Any]) -> str:
    return "" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
