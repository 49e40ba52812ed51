"""How long a recipe trains and when its learning rate changes, in steps: on the data at hand, or on a complete copy.

A step is a batch. `data.sampler.epoch` defines an epoch; how many steps that is depends on the data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossreid.data.catalogue import describe
from crossreid.data.data_options import DataOptions
from crossreid.data.records import DataError, Split
from crossreid.data.training_loading import TrainLoader
from crossreid.runs.recipe import Recipe, pixels_as_text
from crossreid.runs.run import open_split
from crossreid.runs.teacher_student import stage_recipes
from crossreid.training.options import TrainingOptions


@dataclass(frozen=True, slots=True)
class Plan:
    """A run in steps.

    Attributes: epochs: the steps of each epoch. images: images per step over all processes; for sets, all images read.
        warmup: steps until the full rate is reached; 0 without warm-up. falls: the first step of each lower rate, and
        the factor of the full rate from there on; only for a rate that falls in
            steps.
        cosine: whether the rate decays along a cosine from the end of the warm-up to the end of training.
    """

    epochs: tuple[int, ...]
    images: int
    warmup: int
    falls: tuple[tuple[int, float], ...]
    cosine: bool = False

    @property
    def total(self) -> int:
        """Return the total number of steps."""
        return sum(self.epochs)

    def __str__(self) -> str:
        least, most = min(self.epochs), max(self.epochs)
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        spans = "1 epoch" if len(self.epochs) == 1 else f"{len(self.epochs):,} epochs"
        parts = [f"{each} steps per epoch of {self.images:,} images each, {self.total:,} steps in {spans}"]
        if self.warmup:
            parts.append(f"the rate warms up over the first {self.warmup:,}")
        if self.falls:
            falls = (f"{factor:.3g} of lr from step {step:,}" for step, factor in self.falls)
            parts.append(f"the rate is {', '.join(falls)}")
        elif self.cosine:
            parts.append("the rate decays along a cosine to the end")
        return "; ".join(parts)


def plan(recipe: Recipe, split: Split) -> Plan:
    """Return the plan of one run by `recipe` on the data set `split`.

    Raises:
        DataError: its training images cannot be batched as the recipe says.
    """
    loader = TrainLoader(split.train, recipe.data, seed=recipe.training.seed)
    return plan_of(recipe.data, recipe.training, loader.steps_in)


def plan_of(data: DataOptions, training: TrainingOptions, steps_in: Callable[[int], int]) -> Plan:
    """Return the plan of a run whose epoch `e` has `steps_in(e)` steps."""
    schedule = training.schedule
    epochs = tuple(steps_in(epoch) for epoch in range(training.epochs))
    starts = [0, *itertools.accumulate(epochs)]
    warmup = schedule.warmup_steps or _within(schedule.warmup_epochs, starts)
    falls: list[tuple[int, float]] = []
    if schedule.kind == "step":
        given = [starts[min(max(m, 0), len(epochs))] for m in schedule.milestones] + list(schedule.milestone_steps)
        if schedule.advance == "epoch":  # the rate changes only at the next epoch
            given = [next((start for start in starts if start >= step), starts[-1]) for step in given]
        for passed, step in enumerate(sorted(given), start=1):
            if step < starts[-1]:
                falls.append((max(step, warmup), schedule.factor**passed))
    lasting = [fall for fall, after in itertools.pairwise([*falls, (-1, 0.0)]) if fall[0] != after[0]]
    images = data.sampler.identities * data.sampler.images * data.sets.size
    return Plan(epochs, images, min(warmup, starts[-1]), tuple(lasting), schedule.kind == "cosine")


def official_steps(data: DataOptions) -> int | None:
    """Return the steps per epoch on a complete copy of the data set, by its official counts; None if these do not tell.

    They do not if identities are held out, nor for epochs of pairs, which depend on each identity.
    """
    if data.sources:
        return None
    sampler, official = data.sampler, describe(data.name).official
    part = data.options.get("train_on", "train")
    held = int(data.options.get("validation", 0))
    if sampler.epoch == "identities":
        identities = official.get(f"{part} identities")
        return None if identities is None else (identities - held) // sampler.identities
    if isinstance(sampler.epoch, int):
        return sampler.epoch
    of = "tracklets" if data.sets.size > 1 else "images"
    counts = [
        official[name] for name in (f"{part} visible {of}", f"{part} infrared {of}", f"{part} {of}") if name in official
    ]
    if sampler.epoch == "pairs" or held or not counts:
        return None
    return max(1, sum(counts) // (sampler.identities * sampler.images))


def plan_as_comments(recipe: Recipe) -> str:
    """Return YAML comments with the steps of each run of `recipe`: on the data at hand, else on a complete copy.

    Unreadable data is noted there and is not an error.
    """
    lines: list[str] = []
    missing = [root for root in _roots(recipe.data) if not root.exists()]
    split, why = None, f"{missing[0] if missing else ''} does not exist"
    if not missing:
        try:
            split, why = open_split(recipe), ""
        except DataError as error:
            why = " ".join(str(error).split())
    for folder, own in stage_recipes(recipe, Path("run")):
        name = f"{folder.name}, " if recipe.teacher is not None else ""
        try:
            lines.append(f"# {name}{_said(own, split, why)}.")
            lines.append(f"# {name}{pixels_as_text(own)}.")
        except DataError as error:
            lines.append(f"# {name}{' '.join(str(error).split())}")
    return "".join(f"{line}\n" for line in lines)


def _said(recipe: Recipe, split: Split | None, why: str) -> str:
    if split is not None:
        return f"on {', '.join(map(str, _roots(recipe.data)))}: {plan(recipe, split)}"
    steps = official_steps(recipe.data)
    if steps is None:
        return f"steps: unknown until the data is read ({why})"
    return f"on a complete copy ({why}): {plan_of(recipe.data, recipe.training, lambda _: steps)}"


def _roots(data: DataOptions) -> list[Path]:
    """Return the folders that are read."""
    return [source.root for source in data.sources] or [data.root]


def _within(epochs: float, starts: list[int]) -> int:
    """Return the number of steps in the first `epochs` epochs, which may be fractional."""
    whole = min(int(epochs), len(starts) - 1)
    after = starts[min(whole + 1, len(starts) - 1)] - starts[whole]
    return starts[whole] + math.ceil((epochs - whole) * after)
