"""What a study is: cells, each a recipe made from one base recipe, and the figures that its table compares them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.data.data_options import DataOptions
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import Recipe

# What a run's embeddings are scored as (`one_run.score_spaces`): its test features, and those of a method with branches.
PLAIN, RERANKED = "not re-ranked", "re-ranked"
SPACES = ("v", "z", "both")

Columns = tuple[tuple[str, str], ...]
# A table.json that names no columns has these.
COLUMNS: Columns = (("v", "rank-1"), ("z", "rank-1"), ("both", "rank-1"), ("both", "mAP"))
RERANKED_COLUMNS: Columns = ((PLAIN, "rank-1"), (PLAIN, "mAP"), (RERANKED, "rank-1"), (RERANKED, "mAP"))


class StudyError(CrossreidError):
    """A study that cannot be run or summed up; the message names the runs and what to do."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of a study: a folder's name, what a person reads, the method it trains and its changed keys.

    `group` is what its rows are listed under, `place` its position on the study's axis where it has one; `teacher` and
    `start` are the cells whose runs of the same seed teach it and are its start. `reference` is the cell that it is compared with
    where that is not the study's; `tested` names the data set it is scored on where that is not the one of its recipe.
    """

    key: str
    title: str
    group: str
    method: str
    changes: Mapping[str, Any]
    published: Mapping[str, float] | None = None
    place: float | None = None
    teacher: str | None = None
    start: str | None = None
    reference: str | None = None
    tested: str | None = None

    @property
    def needs(self) -> set[str]:
        """The cells whose runs must be there first."""
        return {key for key in (self.teacher, self.start) if key is not None}


MakeRecipe = Callable[[Recipe, Cell, int, Path], Recipe]


@dataclass(frozen=True, slots=True)
class Study:
    """Cells in the order of the table; `reference` is the cell that others are compared with, seed by seed.

    `recipe(base, cell, seed, out)` makes the recipe of a cell's run in the study's folder `out`. `columns` are the
    figures of the table, each a (space, figure); None: those that all of its runs are scored by. `compared` is the
    position among them of the one whose differences are given. `tested(base, cell)` gives the data that a cell's runs are scored
    on, where that is not what they are trained on.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    reference: str
    recipe: MakeRecipe
    axis: str | None = None
    columns: Columns | None = COLUMNS
    compared: int = 2
    tested: Callable[[Recipe, Cell], DataOptions] | None = None
