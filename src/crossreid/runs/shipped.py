"""The recipes that come with the package, in `recipes/` beside this file: list them, and find them by name.

Commands and `load_recipe` take a name in place of a file; an existing file always comes first.
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
NO_SETTING = "default"  # the recipe names none: its method's default


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe as lists show it: data sets, method and setting from its keys, and the first line of its comment."""

    name: str
    dataset: str
    method: str
    setting: str
    about: str


def shipped_names() -> list[str]:
    """Return the names of all recipes of the package, in alphabetical order."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def shipped_recipes(dataset: str | None = None, method: str | None = None) -> list[ShippedRecipe]:
    """Return the recipes of the package, with `dataset` or `method` only those for it.

    Raises:
        RecipeError: no recipe is for that data set or method.
    """
    found = [_described(SHIPPED / f"{name}.yaml") for name in shipped_names()]
    for asked, what, key in ((dataset, "data set", "dataset"), (method, "method", "method")):
        known = sorted({part for recipe in found for part in getattr(recipe, key).split("+")})
        if asked is not None and asked not in known:
            raise RecipeError(f"no recipe is for the {what} {asked!r}. Expected one of {', '.join(known)}.")
        found = [recipe for recipe in found if asked in (None, *getattr(recipe, key).split("+"))]
    return found


def shipped_file(name: str) -> Path:
    """Return the file of the recipe of that name, with or without `.yaml`.

    Raises:
        RecipeError: the package has no recipe of that name; the nearest ones are named.
    """
    path = _shipped(Path(name))
    if path is None:
        raise RecipeError(f"no recipe {name!r} comes with crossreid.{_nearest(name, shipped_names())}")
    return path


def recipe_file(given: Path) -> Path:
    """Return the file that `given` means: itself if it exists, else the package's recipe of that name.

    `recipes/NAME.yaml` also means NAME: recipes used to be in a separate folder of that name.

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
    if len(given.parts) != 1 or name not in shipped_names():  # a name, never a path out of the folder
        return None
    return SHIPPED / f"{name}.yaml"


def _nearest(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given.removesuffix(".yaml"), known, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return f"{hint} `crossreid recipes list` lists all."


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
