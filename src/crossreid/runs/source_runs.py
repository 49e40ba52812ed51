"""A run on several data sets as seen on each one alone: a recipe of one data set, its validation, a folder.

RUN/sources/NAME holds the run's recipe for its source NAME and, once computed, its scores and features. Opened, it is
the run with its weights, tested on that source by its protocol and options; so everything that takes a run also takes a
run on one source.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from crossreid.data.records import Split
from crossreid.data.sources import MEAN
from crossreid.errors import CrossreidError
from crossreid.evaluation.scores import Score
from crossreid.files import write_text
from crossreid.methods import with_encoder
from crossreid.models.domain_norm import counted_as
from crossreid.runs.folders import SOURCES, source_views, weights_folder
from crossreid.runs.recipe import Recipe

Validate = Callable[[nn.Module, Split, Recipe], dict[str, float]]


def recipe_on(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with the source `name` as its only data set; batch norms by domain use that source's."""
    method = recipe.method
    if method.encoder.domain_norm != "shared":
        method = with_encoder(method, tested_as=name)
    alone = {
        "data": recipe.data.of_source(name),
        "method": method,
        "start_from": None,
        "teacher": None,
        "generations": 1,
    }
    return recipe.model_copy(update=alone)


def write_views(recipe: Recipe, out: Path) -> None:
    """Write RUN/sources/NAME/recipe.yaml for each source of a run's recipe."""
    for source in recipe.data.sources:
        write_text(out / SOURCES / source.called / "recipe.yaml", recipe_on(recipe, source.called).as_yaml())


def view_of(run: Path, name: str) -> Path:
    """Return the folder of a run on its source `name`.

    Raises:
        CrossreidError: it has no such source.
    """
    views = {path.name: path for path in source_views(run)}
    if name not in views:
        near = difflib.get_close_matches(name, views, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        known = f"expected one of {', '.join(views)}" if views else "the run is on one data set"
        raise CrossreidError(f"source {name!r} of {run}: {known}.{guess}")
    return views[name]


def views_or_itself(run: Path) -> list[Path]:
    """Return a run on several data sets as one folder per data set; any other run as it is."""
    return source_views(run) or [run]


def monitored(split: Split, figures: Sequence[str]) -> list[str]:
    """Return the names of validation figures: `figures`, and for several sources also mean/FIGURE and SOURCE/FIGURE.

    Sources without validation images are left out.
    """
    if not split.sources:
        return list(figures)
    names = [name for name, part in split.sources if part.validation]
    return [*figures, *(f"{name}/{figure}" for name in (MEAN, *names) for figure in figures)]


def validated(method: nn.Module, split: Split, recipe: Recipe, validate: Validate) -> dict[str, float]:
    """Return the figures to monitor: those of `validate` on each source, by its protocol and statistics, and their mean."""
    if not split.sources:
        return validate(method, split, recipe)
    each: dict[str, dict[str, float]] = {}
    for place, (name, part) in enumerate(split.sources):
        if part.validation:
            with counted_as(method, place):
                each[name] = validate(method, part, recipe_on(recipe, name))
    figures = list(next(iter(each.values())))
    mean = {figure: float(np.mean([numbers[figure] for numbers in each.values()])) for figure in figures}
    named = {MEAN: mean, **each}
    return mean | {f"{name}/{figure}": value for name, numbers in named.items() for figure, value in numbers.items()}


def mean_over_sources(each: Mapping[Path, Sequence[Score]]) -> dict[Path, dict[str, float]]:
    """Return, for each run with all its sources in `each`, the mean over them of the figures of their first settings."""
    found: dict[Path, dict[Path, Score]] = {}
    for view, scores in each.items():
        if weights_folder(view) != view:
            found.setdefault(weights_folder(view), {})[view] = scores[0]
    return {
        run: {
            figure: float(np.mean([score.value(figure) for score in firsts.values()]))
            for figure in ("rank-1", "mAP", "mINP")
        }
        for run, firsts in found.items()
        if len(firsts) > 1 and len(firsts) == len(source_views(run))
    }


def refuse_several(split: Split) -> None:
    """Raise `CrossreidError` if a split covers several data sets, but a test needs one."""
    if split.sources:
        names = [name for name, _ in split.sources]
        raise CrossreidError(
            f"the run is on several data sets ({', '.join(names)}), and each is tested by itself. Name one: "
            f"RUN/{SOURCES}/{names[0]}, or --source {names[0]}."
        )
