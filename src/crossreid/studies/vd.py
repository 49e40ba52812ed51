"""The studies of variational distillation (Tian et al., CVPR 2021): objectives and branches, width of z, weights.

Its rivals are trained on the same network: the information bottleneck with a mutual-information estimator (IB), and
the variational information bottleneck (VIB).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.evaluation.published import VD_ABLATION
from crossreid.files import key_value
from crossreid.methods import METHODS
from crossreid.runs.overrides import reader_options
from crossreid.runs.recipe import Recipe, RecipeError, make_recipe
from crossreid.studies.study import Cell, MakeRecipe, Study

VD = "variational_distillation"
RIVALS = ("information_bottleneck", "variational_information_bottleneck")
SHORT = {"information_bottleneck": "IB", "variational_information_bottleneck": "VIB", VD: "VD"}
BRANCHES = {"specific": "modality-specific branches", "shared": "shared branch", "all": "all three branches"}
TERMS = {"self_weight": "VSD", "cross_weight": "VCD", "consistency_weight": "VML"}
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
WEIGHTS: dict[str, tuple[float, ...]] = {
    VD: (0.1, 0.5, 2.0, 8.0),
    "information_bottleneck": (0.01, 0.1, 1.0, 10.0),
    "variational_information_bottleneck": (1e-5, 1e-4, 1e-3, 1e-2),
}


def vd_study(rival: Mapping[str, Any] | None = None) -> Study:
    """Return branches x {bottleneck, VIB, VD}, then every subset of VSD, VCD and VML on all three branches.

    Args:
        rival: maps `METHOD.KEY` to values, for keys that the base recipe's method does not have; see `rival_keys`.
    """
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
    return Study("vd", "objectives and branches", (*cells, *_terms()), "all-vd", _recipes(rival))


def _terms() -> Iterator[Cell]:
    """Yield all subsets except the full one, which is VD on all three branches."""
    for kept in range(2 ** len(TERMS) - 1):
        on = [bool(kept >> position & 1) for position in range(len(TERMS))]
        names = [name for name, is_on in zip(TERMS.values(), on, strict=True) if is_on]
        off = {key: 0.0 for key, is_on in zip(TERMS, on, strict=True) if not is_on}
        key = "terms-" + ("-".join(name.lower() for name in names) or "none")
        title = " + ".join(names) or "none: L_ReID alone"
        yield Cell(key, title, "all three branches, terms of VD", VD, {"branches": "all", **off})


def z_size_study(sizes: Sequence[int] = SIZES) -> Study:
    """Return the study of the width of z, from too narrow to wider than needed."""
    cells = tuple(
        Cell(f"z-{size}", str(size), "size of z", VD, {"bottleneck.width": size}, place=float(size)) for size in sizes
    )
    reference = "z-256" if 256 in sizes else cells[-1].key
    return Study("z-size", "size of the representation z", cells, reference, _recipes(), axis="width of z")


def weight_study(rival: Mapping[str, Any] | None = None) -> Study:
    """Return the study of each objective's weight: how far their comparison depends on the choice of beta.

    Args:
        rival: as in `vd_study`.
    """
    cells = []
    for method, weights in WEIGHTS.items():
        for weight in weights:
            keys = TERMS if method == VD else ("weight",)
            changes = dict.fromkeys(keys, weight)
            cells.append(
                Cell(f"{SHORT[method].lower()}-{weight:g}", f"{SHORT[method]}, beta {weight:g}", SHORT[method], method,
                     changes, place=weight)
            )  # fmt: skip
    return Study("weight", "weight of each objective", tuple(cells), "vd-0.5", _recipes(rival), axis="beta")


def _recipes(rival: Mapping[str, Any] | None = None) -> MakeRecipe:
    def recipe_of(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
        return vd_recipe(base, cell, seed, rival)

    return recipe_of


def vd_recipe(base: Recipe, cell: Cell, seed: int, rival: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a cell: `base` with the cell's method and changes. `rival` maps `METHOD.KEY` to values.

    Keys of the base's method that another method does not have are left out; the rest of the network stays.

    Raises:
        RecipeError: the base's method has no branches.
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


RIVAL = "METHOD.KEY=VALUE, for example information_bottleneck.weight=1"


def rival_keys(given: Sequence[str]) -> dict[str, Any]:
    """Parse `METHOD.KEY=VALUE` pairs with YAML values, as for `vd_study`.

    Raises:
        CrossreidError: an invalid pair, or an unknown method or key.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, value = key_value(text, "--rival", RIVAL)
        owner, _, key = name.partition(".")
        if not key:
            raise CrossreidError(f"--rival {text!r}: expected {RIVAL}.")
        if owner not in SHORT:
            raise RecipeError(
                f"--rival {text!r}: method {owner!r} is not in this study. Expected one of {', '.join(SHORT)}."
            )
        if key not in METHODS[owner].options.model_fields:
            known = ", ".join(METHODS[owner].options.model_fields)
            raise RecipeError(f"--rival {text!r}: {owner} has no key {key!r}. It has {known}.")
        found[name] = reader_options([f"value={value}"])["value"]
    return found
