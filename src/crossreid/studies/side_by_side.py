"""The study of whole recipes, with any methods, side by side on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crossreid.data.sources import same_identities
from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import Cell, Study


def recipes_study(recipes: Mapping[str, Recipe]) -> Study:
    """Return a study of whole recipes, one per row; the first is the reference.

    A recipe with a teacher means the runs of all its stages; the last student is scored.

    Raises:
        RecipeError: there is only one, or they use different data sets, so their figures cannot be compared.
    """
    first, *others = recipes
    if not others:
        raise RecipeError("expected two or more recipes to compare.")
    for name in others:
        for key in ("name", "root", "options"):
            own, other = getattr(recipes[name].data, key), getattr(recipes[first].data, key)
            if own != other:
                raise RecipeError(
                    f"{name}: data.{key} is {own}, but that of {first} is {other}. Compare on the same data."
                )
        if not same_identities(recipes[name].data.model_dump(), recipes[first].data.model_dump()):
            raise RecipeError(f"{name}: data.sources are not those of {first}. Compare on the same data.")

    def recipe_of(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
        given = recipes[cell.key].model_dump(mode="json")
        given["training"]["seed"] = seed
        return make_recipe(given, source=cell.key)

    cells = tuple(Cell(name, name, "recipes", recipe.method.name, {}) for name, recipe in recipes.items())
    return Study("recipes", "recipes side by side", cells, first, recipe_of, columns=None, compared=1)


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return recipe files by name without the suffix.

    Raises:
        RecipeError: two have the same name.
    """
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        raise RecipeError("two recipe files have the same name; expected different names.")
    return found
