"""Leave one data set out: train on all others and test on it, beside training on it alone.

The first shows how well learning transfers to an unseen place (domain generalisation), the second is the upper bound
from a training set of the place itself. Both are scored on the same test images by the data set's own protocol.
"""

from __future__ import annotations

from typing import Any

from crossreid.data.data_options import DataOptions
from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import Cell, Study


def left_out_study(base: Recipe) -> Study:
    """Return, for each source of the recipe's data, a run on all others and a run on it alone.

    Raises:
        RecipeError: the recipe's data has fewer than two sources.
    """
    names = [source.called for source in base.data.sources]
    if len(names) < 2:
        raise RecipeError(
            "leaving one data set out needs a recipe with two or more: `data` as a list of sections (docs/several_data_sets.md)."
        )
    if base.teacher is not None or base.start_from is not None:
        raise RecipeError(
            "leaving one data set out: expected a recipe without teacher and start_from, which have their own data."
        )
    cells = []
    for name in names:
        alone = f"{name}-alone"
        others = ", ".join(other for other in names if other != name)
        cells += [
            Cell(
                f"{name}-left-out",
                f"trained on {others}",
                name,
                base.method.name,
                {"without": name},
                reference=alone,
                tested=name,
            ),
            Cell(alone, "trained on it alone", name, base.method.name, {"only": name}, reference=alone, tested=name),
        ]
    return Study(
        "left-out", "one data set left out", tuple(cells), cells[1].key, lambda base, cell, seed, out: recipe_of(base, cell, seed),
        columns=None, compared=1, tested=tested_on,
    )  # fmt: skip


def tested_on(base: Recipe, cell: Cell) -> DataOptions:
    """Return the data that a cell's runs are scored on."""
    return base.data.of_source(str(cell.tested))


def recipe_of(base: Recipe, cell: Cell, seed: int) -> Recipe:
    """Return the recipe of one cell's run: batch norms by domain only if it trains on several data sets."""
    given = base.model_dump(mode="json")
    kept = [
        source
        for source in base.data.sources
        if source.called == cell.changes.get("only", source.called) and source.called != cell.changes.get("without")
    ]
    if len(kept) == 1:
        given["data"] = base.data.of_source(kept[0].called).model_dump(mode="json")
        _set_norms(given["method"], "shared")
    else:
        given["data"]["sources"] = [source.model_dump(mode="json") for source in kept]
        _set_norms(given["method"], base.method.encoder.domain_norm)
    monitor = base.training.monitor
    if len(kept) == 1 or monitor.partition("/")[0] not in ("mean", *(source.called for source in kept)):
        given["training"]["monitor"] = monitor.rpartition("/")[2]
    given["training"]["seed"] = seed
    return make_recipe(given, source=cell.key)


def _set_norms(method: dict[str, Any], kind: str) -> None:
    inner = method["network"] if isinstance(method.get("network"), dict) else method
    backbone = {
        key: value for key, value in inner["backbone"].items() if key not in ("domain_norm", "domains", "tested_as")
    }
    inner["backbone"] = backbone if kind == "shared" else {**backbone, "domain_norm": kind}
