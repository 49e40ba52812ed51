"""The study of whole recipes, of any methods, side by side on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crossreid.data.sources import same_identities
from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import Cell, Study


def recipes_study(recipes: Mapping[str, Recipe]) -> Study:
    """Whole recipes, each a row; the first is what the others are compared with.

    A recipe with a teacher stands for the runs of all of its stages, of which the last student is scored.

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
        if not same_identities(recipes[name].data.model_dump(), recipes[first].data.model_dump()):
            raise RecipeError(f"{name}: data.sources are not those of {first}. Compare on the same data.")

    def recipe_of(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
        given = recipes[cell.key].model_dump(mode="json")
        given["training"]["seed"] = seed
        return make_recipe(given, source=cell.key)

    cells = tuple(Cell(name, name, "recipes", recipe.method.name, {}) for name, recipe in recipes.items())
    return Study("recipes", "recipes side by side", cells, first, recipe_of, columns=None, compared=1)


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Recipe files by their names without the suffix.

    Raises:
        RecipeError: two of the same name.
    """
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        raise RecipeError("two recipe files have the same name; expected names that tell them apart.")
    return found
