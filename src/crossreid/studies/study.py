"""What an ablation compares: cells, each a change of one recipe, with the published row where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.evaluation.published import VD_ABLATION
from crossreid.methods import METHODS
from crossreid.runs.faults import RecipeError
from crossreid.runs.overrides import reader_options
from crossreid.runs.recipe import Recipe, make_recipe

VD = "variational_distillation"
RIVALS = ("information_bottleneck", "variational_information_bottleneck")
SHORT = {"information_bottleneck": "IB", "variational_information_bottleneck": "VIB", VD: "VD"}
BRANCHES = {"specific": "modality-specific branches", "shared": "shared branch", "all": "all three branches"}
TERMS = {"self_weight": "VSD", "cross_weight": "VCD", "consistency_weight": "VML"}
COLUMNS = (("v", "rank-1"), ("z", "rank-1"), ("both", "rank-1"), ("both", "mAP"))
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
WEIGHTS: dict[str, tuple[float, ...]] = {
    VD: (0.1, 0.5, 2.0, 8.0),
    "information_bottleneck": (0.01, 0.1, 1.0, 10.0),
    "variational_information_bottleneck": (1e-5, 1e-4, 1e-3, 1e-2),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of a study: a folder's name, what a person reads, the method it trains and its changed keys.

    `group` is what its rows are listed under, `place` its position on the study's axis where it has one; `teacher` and
    `start` are the cells whose runs of the same seed teach it and are its start.
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

    @property
    def needs(self) -> set[str]:
        """The cells whose runs must be there first."""
        return {key for key in (self.teacher, self.start) if key is not None}


@dataclass(frozen=True, slots=True)
class Study:
    """Cells in the order of the table; `reference` is the cell that others are compared with, seed by seed.

    `columns` are the figures of the table, each of a space and of one name, `compared` the place among them of the one
    whose differences are given. `recipe(base, cell, seed, out)` makes a cell's recipe; `cell_recipe` where it is None.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    reference: str
    axis: str | None = None
    columns: tuple[tuple[str, str], ...] = COLUMNS
    compared: int = 2
    recipe: Callable[[Recipe, Cell, int, Path], Recipe] | None = None


def vd_study() -> Study:
    """Branches x {bottleneck, VIB, VD}, then every subset of VSD, VCD and VML on all three branches."""
    cells = [
        Cell(
            f"{branches}-{SHORT[method].lower()}",
            SHORT[method],
            title,
            method,
            {"branches": branches},
            VD_ABLATION.get((branches, method)),
        )
        for branches, title in BRANCHES.items()
        for method in (*RIVALS, VD)
    ]
    return Study("vd", "objectives and branches", (*cells, *_terms()), "all-vd")


def _terms() -> Iterator[Cell]:
    """All subsets but the full one, which is all three branches' VD."""
    for kept in range(2 ** len(TERMS) - 1):
        on = [bool(kept >> place & 1) for place in range(len(TERMS))]
        names = [name for name, is_on in zip(TERMS.values(), on, strict=True) if is_on]
        off = {key: 0.0 for key, is_on in zip(TERMS, on, strict=True) if not is_on}
        key = "terms-" + ("-".join(name.lower() for name in names) or "none")
        title = " + ".join(names) or "none: L_ReID alone"
        yield Cell(key, title, "all three branches, terms of VD", VD, {"branches": "all", **off})


def z_size_study(sizes: Sequence[int] = SIZES) -> Study:
    """The width of z, from too little to more than is needed."""
    cells = tuple(
        Cell(f"z-{size}", str(size), "size of z", VD, {"bottleneck.width": size}, place=float(size)) for size in sizes
    )
    reference = "z-256" if 256 in sizes else cells[-1].key
    return Study("z-size", "size of the representation z", cells, reference, "width of z")


def weight_study() -> Study:
    """How much each objective weighs: what the comparison of objectives owes to the choice of beta."""
    cells = []
    for method, weights in WEIGHTS.items():
        for weight in weights:
            keys = TERMS if method == VD else ("weight",)
            changes = dict.fromkeys(keys, weight)
            cells.append(
                Cell(f"{SHORT[method].lower()}-{weight:g}", f"{SHORT[method]}, beta {weight:g}", SHORT[method], method,
                     changes, place=weight)
            )  # fmt: skip
    return Study("weight", "weight of each objective", tuple(cells), "vd-0.5", "beta")


def cell_recipe(base: Recipe, cell: Cell, seed: int, rival: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a cell: `base` with the cell's method and changes. `rival` holds `METHOD.KEY` to value.

    Keys of the base's method that another method does not have are left out; the rest of the network stays.
    """
    given = base.model_dump(mode="json")
    if "branches" not in given["method"]:
        raise RecipeError(
            f"the recipe's method is {base.method.name!r}, which has no branches and no bottleneck to study. Expected one "
            f"of {', '.join(SHORT)}."
        )
    known = METHODS[cell.method].options.model_fields
    method = {key: value for key, value in given["method"].items() if key in known}
    method["name"] = cell.method
    for name, value in (rival or {}).items():
        owner, _, key = name.partition(".")
        if owner == cell.method:
            method[key] = value
    given["method"] = method
    given["training"]["seed"] = seed
    return make_recipe(given, [f"method.{key}={value}" for key, value in cell.changes.items()], source=cell.key)


def rival_keys(given: Sequence[str]) -> dict[str, Any]:
    """`METHOD.KEY=VALUE` pairs, values YAML, as `cell_recipe` takes them.

    Raises:
        RecipeError: no such pair, method or key.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        owner, _, key = name.partition(".")
        if not equals or not key:
            raise RecipeError(
                f"--rival {text!r}: expected METHOD.KEY=VALUE, for example information_bottleneck.weight=1."
            )
        if owner not in SHORT:
            raise RecipeError(f"--rival {text!r}: no method {owner!r} here. Expected one of {', '.join(SHORT)}.")
        if key not in METHODS[owner].options.model_fields:
            known = ", ".join(METHODS[owner].options.model_fields)
            raise RecipeError(f"--rival {text!r}: {owner} has no key {key!r}. It has {known}.")
        found[name] = reader_options([f"value={value}"])["value"]
    return found
