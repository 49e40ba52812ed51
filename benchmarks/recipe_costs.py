"""The cost of the recipes for public data sets by arithmetic: steps, FLOPs, hours, and the header lines with them.

    python benchmarks/recipe_costs.py                                  # a table of all recipes
    python benchmarks/recipe_costs.py --write src/crossreid/runs/recipes/vkd_mars.yaml  # put the lines into headers
    python benchmarks/recipe_costs.py --check                          # report headers that say something else

Steps follow from the recipe and the official counts of its data set. FLOPs are those of the forward and backward pass,
with a multiplication and an addition counted as two. `torch.utils.flop_counter` counts them on the recipe's own network
and losses with random weights at the recipe's image size, on four samples, scaled to the number of samples; optimiser,
loading, validation and testing are not included. Hours divide that by a throughput that is assumed, not measured: a
tenth of the peak of the named GPU in the recipe's precision.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from crossreid.data.batch import Batch
from crossreid.methods import build_method, without_download
from crossreid.methods.view_distillation import ViewDistillation
from crossreid.runs.plan import Plan, official_steps, plan_of
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.teacher_student import stage_recipes

GPU = "an NVIDIA H100"
THROUGHPUT = {"bf16-mixed": 100e12, "16-mixed": 100e12, "32-true": 50e12}  # FLOP/s; of float32 its tensor cores' TF32
# Steps an epoch that the official counts do not say, by data set and kind of epoch, and why these.
OTHERWISE: dict[tuple[str, object], tuple[int, str]] = {
    ("sysu-mm01", "pairs"): (195, "Steps per epoch as counted in the release."),
    ("llcm", "pairs"): (
        151,
        "Steps per epoch by the official lists: 150 to 152, rarely one more, depending on the draw.",
    ),
    ("regdb", "pairs"): (68, "Two chunks of each of 206 identities."),
    ("veri-776", "images"): (107, "A tracklet is one vehicle seen by one camera."),
    ("atrw", "images"): (39, "Every image is its own tracklet."),
}
CLASSES = 400  # what a classifier costs is nothing beside its network
_SAMPLES = (2, 2)  # identities, and images of each: the fewest that every loss has pairs in


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: its name within the recipe, or none, its plan, and why its steps are those; FLOPs, 0 if not counted."""

    name: str
    plan: Plan
    note: str
    flops: float
    throughput: float

    @property
    def hours(self) -> float:
        return self.flops / self.throughput / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path, nargs="*", help="recipes; all of them by default")
    parser.add_argument("--write", action="store_true", help="put the lines into the headers")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a header says something else")
    arguments = parser.parse_args()
    table = Table("recipe", "steps an epoch", "steps", "PFLOP", "hours by arithmetic", title=f"On {GPU}")
    wrong = []
    for path in arguments.recipes or sorted(SHIPPED.glob("*.yaml")):
        found = costs(load_recipe(path))
        for cost in found:
            row = (f"{cost.plan.epochs[0]:,}", f"{cost.plan.total:,}", f"{cost.flops / 1e15:,.1f}", f"{cost.hours:.2f}")
            table.add_row(f"{path.stem} {cost.name}", *row)
        text = path.read_text(encoding="utf-8")
        written = with_lines(text, header_lines(found, each=_each(load_recipe(path))))
        if written != text:
            wrong.append(path.name)
            if arguments.write:
                path.write_text(written, encoding="utf-8")
    Console().print(table)
    if wrong and arguments.check:
        sys.exit(f"headers are out of date: {', '.join(wrong)}. Run benchmarks/recipe_costs.py --write.")


def costs(recipe: Recipe, *, flops: bool = True) -> list[Cost]:
    """The cost of each run of a recipe; nothing where the steps of one of them are not known, as of a synthetic world."""
    found = []
    for folder, own in stage_recipes(recipe, Path("run")):
        steps, note = steps_of(own)
        if steps is None:
            return []
        planned = plan_of(own.data, own.training, functools.partial(_always, steps))
        each = 0.0
        if flops:
            taught = recipe.teacher is not None and folder.name != "teacher"
            each = flops_of_a_sample(_network(own), teacher=_network(_teacher(recipe)) if taught else "")
        samples = own.data.sampler.identities * own.data.sampler.images * planned.total
        if getattr(own.data.augment.channels, "joint", False):
            samples += samples // 2  # visible images are seen twice
        name = folder.name if recipe.teacher is not None else ""
        found.append(Cost(name, planned, note, each * samples, THROUGHPUT[own.training.precision]))
    return found


def steps_of(recipe: Recipe) -> tuple[int | None, str]:
    """Steps an epoch on a complete copy, and a note where they are not arithmetic; none of a world that is rendered."""
    data = recipe.data
    if data.name == "manifest" or data.options.get("validation"):
        return None, ""
    steps = official_steps(data)
    if steps is not None:
        return steps, ""
    return OTHERWISE.get((data.name, data.sampler.epoch), (None, ""))


def _always(steps: int, _: int) -> int:
    return steps


def _teacher(recipe: Recipe) -> Recipe:
    return stage_recipes(recipe, Path("run"), "teacher")[0][1]


def _network(recipe: Recipe) -> str:
    """What the cost of a sample depends on, as text, so that recipes that share it are counted once."""
    data = recipe.data.model_dump(mode="json", include={"height", "width", "sets"})
    data |= {"name": "manifest", "root": ".", "sampler": {"balance": recipe.data.sampler.balance}}
    method = recipe.method.model_dump(mode="json")
    if "teacher" in method:  # is counted beside it
        method |= {"teacher": None, "start": "weights"}
    return Recipe.model_validate({"data": data, "method": method}).model_dump_json()


@functools.cache
def flops_of_a_sample(recipe: str, *, teacher: str = "") -> float:
    """FLOPs of forward and backward of one image, or of one set, by the losses of a recipe and of its teacher's (JSON)."""
    own = Recipe.model_validate_json(recipe)
    method = build_method(without_download(own.method).with_cameras([0]), CLASSES).train()
    if teacher:
        assert isinstance(method, ViewDistillation)
        method.teach(build_method(without_download(Recipe.model_validate_json(teacher).method), CLASSES))
    batch = noise_batch(own)
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(method.losses(batch).values())).sum().backward()
    return float(counter.get_total_flops()) / len(batch.labels)


def noise_batch(recipe: Recipe) -> Batch:
    """The fewest samples at the recipe's size: noise of two identities, one image of either modality each."""
    labels = torch.arange(_SAMPLES[0]).repeat_interleave(_SAMPLES[1])
    modalities = torch.arange(_SAMPLES[1]).repeat(_SAMPLES[0]) * (recipe.data.sampler.balance == "modality")
    shape: tuple[int, ...] = (len(labels), 3, recipe.data.height, recipe.data.width)
    if (size := recipe.data.sets.size) > 1:
        modalities, shape = modalities[:, None].repeat(1, size), (len(labels), size, *shape[1:])
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(shape, generator=generator), labels, modalities, torch.zeros_like(modalities))


def header_lines(found: Sequence[Cost], *, each: str = "") -> list[str]:
    """The lines `# Steps:` and `# Cost:` of a header.

    Args:
        each: what the costs are for, if not the whole recipe: ` per trial`.
    """
    lines = []
    for kind in ("Steps", "Cost"):
        for number, cost in enumerate(found):
            name = f"{cost.name}: " if cost.name else ""
            said = f"{cost.plan}. {cost.note}".strip() if kind == "Steps" else _cost(cost, each)
            first = f"# {kind}:".ljust(12) if number == 0 else "#".ljust(12)
            lines += textwrap.wrap(f"{name}{said}", 120, initial_indent=first, subsequent_indent="#".ljust(12))
    return lines


def _cost(cost: Cost, each: str) -> str:
    time = f"{cost.hours:,.1f} hours" if cost.hours >= 1 else f"{max(60 * cost.hours, 1):.0f} minutes"
    amount = f"{cost.flops / 1e15:,.0f}" if cost.flops > 1e16 else f"{cost.flops / 1e15:.1f}"
    speed = f"{cost.throughput / 1e12:.0f} TFLOP/s"
    return f"by arithmetic, not run: {amount} PFLOP{each}, {time} on {GPU} at a sustained {speed}."


def _each(recipe: Recipe) -> str:
    return " per trial" if recipe.data.name == "regdb" else ""


def with_lines(text: str, lines: Sequence[str]) -> str:
    """A recipe's text with these lines in place of those that its header has, behind what it says of the hardware."""
    if not lines:
        return text
    text = re.sub(r"^# (?:Steps|Cost):.*\n(?:#  {4,}.*\n)*", "", text, flags=re.MULTILINE)
    hardware = re.search(r"^# Hardware:.*\n(?:#  {4,}.*\n)*", text, flags=re.MULTILINE)
    if hardware is None:
        raise ValueError("expected a line `# Hardware:` in the header")
    return text[: hardware.end()] + "".join(f"{line}\n" for line in lines) + text[hardware.end() :]


if __name__ == "__main__":
    main()
