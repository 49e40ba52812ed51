"""Test a run on other data than it was trained on, or with other options, and store the results separately."""

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
    """What to test on: `name` and `root` of a data set, the run's own if None, and `overrides` as in `--set`.

    Another data set starts with its reader's own options; a copy of the same one at another root keeps the run's. `section` is a
    whole data section that replaces all of these, with images as the run's network takes them.
    """

    name: str | None = None
    root: Path | None = None
    overrides: Sequence[str] = ()
    section: DataOptions | None = None

    def recipe(self, trained: Recipe) -> Recipe:
        """Return the run's recipe with the test data in place of its own.

        Raises:
            CrossreidError: another data set without its root, or an override of a training key.
        """
        for override in self.overrides:
            section = override.partition("=")[0].partition(".")[0].strip()
            if section not in SECTIONS:
                raise CrossreidError(
                    f"--set {override!r}: a test may override only keys of data and evaluation; training keys are fixed. "
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
        """Return the name of the results folder: data set, its folder, and a digest of everything the results depend on."""
        facts = {
            "name": recipe.data.name,
            "root": str(recipe.data.root.resolve()),
            "options": recipe.data.options,
            "pixels": recipe.data.model_dump(mode="json", include={*PIXELS, "on_bad_image"}),
            "evaluation": recipe.evaluation.model_dump(mode="json"),
        }
        return place_of(recipe.data, facts)


def place_of(data: DataOptions, facts: Mapping[str, Any]) -> str:
    """Return the name of a results folder: data set, its folder, and a digest of `facts`, everything they depend on."""
    return f"{in_a_name(f'{data.name}-{data.root.resolve().name}')}-{short_digest(facts)}"


def in_a_name(text: str) -> str:
    """Return a text made safe as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text)
