"""The studies of implicit discriminative knowledge learning (IDKL): its terms added one by one, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import RERANKED_COLUMNS, Cell, Study

IDKL = "implicit_knowledge"
# In the order in which the paper adds them, with what is off before that.
TERMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("purifier", "+ purifier", {"purifier": False}),
    ("tgsa", "+ TGSA", {"relation_weight": 0.0}),
    ("csa", "+ CSA", {"class_weight": 0.0}),
    ("mdr", "+ MDR: all of IDKL", {"discrepancy_weight": 0.0}),
)
WEIGHTS: dict[str, tuple[str, tuple[float, ...]]] = {
    "purifier_weight": ("l1, of the purifier", (0.01, 0.1, 0.5, 1.0)),
    "relation_weight": ("l2, of TGSA", (0.1, 0.3, 0.6, 1.0)),
    "class_weight": ("l3, of CSA", (0.1, 0.4, 0.8, 1.6)),
}


def idkl_study() -> Study:
    """Return the paper's ablation: L_b alone, then the purifier, TGSA, CSA and MDR added one by one; and no L_C."""
    cells = []
    for count in range(len(TERMS) + 1):
        key, title = ("base", "base: L_b") if count == 0 else TERMS[count - 1][:2]
        off: dict[str, Any] = {}
        for _, _, without in TERMS[count:]:
            off |= without
        cells.append(Cell(key, title, "terms of IDKL", IDKL, off))
    cells += [
        Cell("no-confuser", "all, without the modality confuser", "the confuser", IDKL, {"confuser": "none"}),
        Cell("pseudo-labels", "all, pseudo-labels in place of reversal", "the confuser", IDKL,
             {"confuser": "pseudo_labels"}),
    ]  # fmt: skip
    return Study("idkl", "terms of IDKL", tuple(cells), "mdr", idkl_recipe, columns=RERANKED_COLUMNS, compared=1)


def lambda_study() -> Study:
    """Return the study of each of l1, l2 and l3 from small to large, with the others unchanged."""
    cells = tuple(
        Cell(f"{key.split('_')[0]}-{weight:g}", f"{title}: {weight:g}", title, IDKL, {key: weight}, place=weight)
        for key, (title, weights) in WEIGHTS.items()
        for weight in weights
    )
    return Study(
        "lambda", "weights of IDKL's terms", cells, "relation-0.6", idkl_recipe, axis="weight",
        columns=RERANKED_COLUMNS, compared=1,
    )  # fmt: skip


def idkl_recipe(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
    """Return the recipe of a cell's run: `base` with the cell's changed keys of the method.

    Raises:
        RecipeError: the base has another method.
    """
    if base.method.name != IDKL:
        raise RecipeError(f"the recipe's method is {base.method.name!r}. Expected {IDKL}, for example idkl_synthetic.")
    given = base.model_dump(mode="json")
    given["training"]["seed"] = seed
    given["method"] |= cell.changes
    return make_recipe(given, source=cell.key)
