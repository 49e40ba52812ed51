"""Testing a run on other data than it was trained with, or by other options, and what is kept of that apart from its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.data.data_options import PIXELS, DataOptions
from crossreid.errors import CrossreidError
from crossreid.files import short_digest
from crossreid.runs.recipe import Recipe, make_recipe

SECTIONS = ("data", "evaluation")


@dataclass(frozen=True, slots=True)
class OtherData:
    """What to test on: a data set's `name` and `root`, each the run's own where None, and `overrides` as `--set` takes them.

    Another data set starts with its reader's own options; a copy of the same one at another root keeps the run's. `section` is a
    whole data section in place of all of that, of images as the run takes them in.
    """

    name: str | None = None
    root: Path | None = None
    overrides: Sequence[str] = ()
    section: DataOptions | None = None

    def recipe(self, trained: Recipe) -> Recipe:
        """The recipe of a run with what is tested on in its place.

        Raises:
            CrossreidError: another data set without its root, or an override of what was trained.
        """
        for override in self.overrides:
            section = override.partition("=")[0].partition(".")[0].strip()
            if section not in SECTIONS:
                raise CrossreidError(
                    f"--set {override!r}: a run is tested with other keys of data and evaluation; what it was trained with stays. "
                    "For example --set data.options.trial=2."
                )
        if self.section is not None:
            return trained.model_copy(update={"data": self.section})
        given = trained.model_dump(mode="json")
        if self.name is not None and self.name != trained.data.name:
            if self.root is None:
                raise CrossreidError(f"--data {self.name} needs --root DIR, the folder of that data set.")
            for key in ("sources", "mixing"):
                given["data"].pop(key, None)
            given["data"] |= {"name": self.name, "options": {}}
            given["evaluation"]["sets"] = []
        if self.root is not None:
            given["data"]["root"] = str(self.root)
        return make_recipe(given, self.overrides, source="evaluate")

    def label(self, recipe: Recipe) -> str:
        """The name of the folder for its results: the data set, its folder, and a digest of all that they depend on."""
        facts = {
            "name": recipe.data.name,
            "root": str(recipe.data.root.resolve()),
            "options": recipe.data.options,
            "pixels": recipe.data.model_dump(mode="json", include={*PIXELS, "on_bad_image"}),
            "evaluation": recipe.evaluation.model_dump(mode="json"),
        }
        return place_of(recipe.data, facts)


def place_of(data: DataOptions, facts: Mapping[str, Any]) -> str:
    """The name of a folder for results: the data set, its folder, and a digest of `facts`, all that they depend on."""
    return f"{in_a_name(f'{data.name}-{data.root.resolve().name}')}-{short_digest(facts)}"


def in_a_name(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", text)
