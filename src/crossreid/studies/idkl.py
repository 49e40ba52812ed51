"""What the studies of two-stream networks compare: the terms of IDKL, their weights, and whole recipes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import Cell, Study

IDKL = "implicit_knowledge"
PLAIN, RERANKED = "not re-ranked", "re-ranked"
COLUMNS = ((PLAIN, "rank-1"), (PLAIN, "mAP"), (RERANKED, "rank-1"), (RERANKED, "mAP"))
# In the order in which the paper adds them, with what is off before it.
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
    """The ablation of the paper: L_b alone, then the purifier, TGSA, CSA and MDR, one after another; and without L_C."""
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
    return Study("idkl", "terms of IDKL", tuple(cells), "mdr", columns=COLUMNS, compared=1, recipe=term_recipe)


def lambda_study() -> Study:
    """Each of l1, l2 and l3 from light to heavy, the others as they are."""
    cells = tuple(
        Cell(f"{key.split('_')[0]}-{weight:g}", f"{title}: {weight:g}", title, IDKL, {key: weight}, place=weight)
        for key, (title, weights) in WEIGHTS.items()
        for weight in weights
    )
    return Study(
        "lambda", "weights of IDKL's terms", cells, "relation-0.6", axis="weight", columns=COLUMNS, compared=1,
        recipe=term_recipe,
    )  # fmt: skip


def term_recipe(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
    """The recipe of a cell's run: `base` with its changed keys of the method.

    Raises:
        RecipeError: the base's method is another.
    """
    if base.method.name != IDKL:
        raise RecipeError(
            f"the recipe's method is {base.method.name!r}. Expected {IDKL}, for example recipes/idkl_synthetic.yaml."
        )
    given = base.model_dump(mode="json")
    given["training"]["seed"] = seed
    given["method"] |= cell.changes
    return make_recipe(given, source=cell.key)


def recipes_study(recipes: Mapping[str, Recipe]) -> Study:
    """Whole recipes, each a row; the first is what the others are compared with.

    Raises:
        RecipeError: one alone, or they are not of the same data set, so that their figures could not be compared.
    """
    first, *others = recipes
    if not others:
        raise RecipeError("expected two recipes or more to compare.")
    for name in others:
        for key in ("name", "root", "options"):
            own, other = getattr(recipes[name].data, key), getattr(recipes[first].data, key)
            if own != other:
                raise RecipeError(f"{name}: data.{key} is {own}, that of {first} is {other}. Compare on the same data.")

    def recipe_of(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
        given = recipes[cell.key].model_dump(mode="json")
        given["training"]["seed"] = seed
        return make_recipe(given, source=cell.key)

    cells = tuple(Cell(name, name, "recipes", recipe.method.name, {}) for name, recipe in recipes.items())
    return Study("recipes", "recipes side by side", cells, first, columns=COLUMNS, compared=1, recipe=recipe_of)


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Recipe files by what tells them apart: their names without the suffix.

    Raises:
        RecipeError: two of the same name.
    """
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        raise RecipeError("two recipe files have the same name; expected names that tell them apart.")
    return found
