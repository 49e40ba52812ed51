"""The recipes that come with the package, in `recipes/` beside this file: listed, and found by their names alone.

A name stands for a recipe wherever a command or `load_recipe` takes a file; a file that is there is always taken before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.runs.faults import RecipeError
from crossreid.runs.yaml_text import read_yaml

SHIPPED = Path(__file__).parent / "recipes"
NO_SETTING = "default"  # the recipe names none: that of its method


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """What a list shows of a recipe: data sets, method and setting as its keys have them, and the first line of its comment."""

    name: str
    dataset: str
    method: str
    setting: str
    about: str


def shipped_names() -> list[str]:
    """The names of all recipes of the package, in alphabetical order."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def shipped_recipes(dataset: str | None = None, method: str | None = None) -> list[ShippedRecipe]:
    """The recipes of the package; with `dataset` or `method` only those of it.

    Raises:
        RecipeError: no recipe is of that data set, or of that method.
    """
    found = [_described(SHIPPED / f"{name}.yaml") for name in shipped_names()]
    for asked, what, key in ((dataset, "data set", "dataset"), (method, "method", "method")):
        known = sorted({part for recipe in found for part in getattr(recipe, key).split("+")})
        if asked is not None and asked not in known:
            raise RecipeError(f"no recipe here is of the {what} {asked!r}. Expected one of {', '.join(known)}.")
        found = [recipe for recipe in found if asked in (None, *getattr(recipe, key).split("+"))]
    return found


def shipped_file(name: str) -> Path:
    """The file of the recipe of that name, with or without `.yaml`.

    Raises:
        RecipeError: the package has none of that name; the nearest ones are named.
    """
    path = _shipped(Path(name))
    if path is None:
        raise RecipeError(f"no recipe {name!r} comes with crossreid.{_nearest(name, shipped_names())}")
    return path


def recipe_file(given: Path) -> Path:
    """The file that `given` means: itself where it is one, and else the recipe of the package of that name.

    `recipes/NAME.yaml` means NAME, too: so recipes were called where they lay in a folder of their own.

    Raises:
        RecipeError: there is no such file and no such recipe; the nearest ones are named.
    """
    if given.is_file():
        return given
    path = _shipped(given.relative_to("recipes") if given.parts[:1] == ("recipes",) else given)
    if path is None:
        beside = [str(path) for path in given.parent.glob("*.yaml")]
        raise RecipeError(
            f"recipe {given} not found. Expected a YAML file, or the name of a recipe that comes with crossreid."
            f"{_nearest(str(given), [*beside, *shipped_names()])}"
        )
    return path


def _shipped(given: Path) -> Path | None:
    name = given.name.removesuffix(".yaml")
    if len(given.parts) != 1 or name not in shipped_names():  # a name, never a way out of the folder
        return None
    return SHIPPED / f"{name}.yaml"


def _nearest(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given.removesuffix(".yaml"), known, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return f"{hint} `crossreid recipes list` names all."


def _described(path: Path) -> ShippedRecipe:
    text = path.read_text(encoding="utf-8")
    given: dict[str, Any] = read_yaml(text)
    data, method = given["data"], given["method"]
    names = [source["name"] for source in data] if isinstance(data, list) else [data["name"]]
    return ShippedRecipe(
        name=path.stem,
        dataset="+".join(dict.fromkeys(names)),
        method=method["name"],
        setting=method.get("setting", NO_SETTING),
        about=text.splitlines()[0].removeprefix("#").strip(),
    )
