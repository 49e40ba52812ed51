"""A study: cells, each a recipe made from one base recipe, and the figures that its table compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.data.data_options import DataOptions
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import Recipe

# The scored spaces of a run (`one_run.score_spaces`): its test features, and those of a method with branches.
PLAIN, RERANKED = "not re-ranked", "re-ranked"
SPACES = ("v", "z", "both")

Columns = tuple[tuple[str, str], ...]
# The columns of a table.json that names none.
COLUMNS: Columns = (("v", "rank-1"), ("z", "rank-1"), ("both", "rank-1"), ("both", "mAP"))
RERANKED_COLUMNS: Columns = ((PLAIN, "rank-1"), (PLAIN, "mAP"), (RERANKED, "rank-1"), (RERANKED, "mAP"))


class StudyError(CrossreidError):
    """A study that cannot be run or summarised; the message names the runs and what to do."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of a study: a folder's name, a printed title, the method to train and its changed keys.

    `group` is the heading of its rows, `place` its position on the study's axis, if any; `teacher` and `start` are the
    cells whose runs with the same seed are its teacher and its start. `reference` is the cell that it is compared with,
    if not the study's; `tested` names the data set that it is scored on, if not its recipe's.
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
        """Return the cells whose runs must exist first."""
        return {key for key in (self.teacher, self.start) if key is not None}


MakeRecipe = Callable[[Recipe, Cell, int, Path], Recipe]


@dataclass(frozen=True, slots=True)
class Study:
    """Cells in the order of the table; `reference` is the cell that others are compared with, seed by seed.

    `recipe(base, cell, seed, out)` makes the recipe of a cell's run in the study's folder `out`. `columns` are the
    figures of the table, each a (space, figure); None means those that all of its runs have. `compared` is the index
    among them of the one whose differences are shown. `tested(base, cell)` returns the data that a cell's runs are
    scored on, if not their training data.
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
