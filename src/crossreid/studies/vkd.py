"""The studies of views knowledge distillation: each cell is a teacher or a student, made from one two-stage recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossreid.runs.recipe import Recipe, RecipeError, make_recipe, teacher_recipe
from crossreid.studies.study import Cell, Columns, Study

VKD = "view_distillation"
COLUMNS: Columns = (
    ("image to video", "rank-1"),
    ("image to video", "mAP"),
    ("video to video", "rank-1"),
    ("video to video", "mAP"),
)
TERMS = {"identity_weight": "L_CE", "triplet_weight": "L_TR", "knowledge_weight": "L_KD", "distance_weight": "L_DP"}


def vkd_study() -> Study:
    """Return teacher, student and its own student; loss terms; a student alone; and which views teach it."""
    cells = [
        Cell("teacher", "teacher", "teacher and students", VKD, {"stage": "teacher"}),
        _student("student", "student: all terms", "teacher and students"),
        Cell("student-2", "the student's student", "teacher and students", VKD, {}, teacher="student"),
        *(
            _student("terms-" + "-".join(on), " + ".join(on), "loss terms", **{f"method.{k}": 0.0 for k in off})
            for on, off in map(
                _terms,
                (("L_CE",), ("L_CE", "L_TR"), ("L_CE", "L_TR", "L_KD"), ("L_CE", "L_TR", "L_DP"), ("L_KD", "L_DP")),
            )
        ),
        _student("heavier", "L_KD and L_DP times ten", "loss terms", heavier=10.0),
        _student("heavy-kd", "L_KD times a hundred", "loss terms", **{"method.knowledge_weight": 10.0}),
        *(
            Cell(key, title, "from the backbone's weights", VKD, {"method.start": "weights", **more}, teacher=teacher)
            for key, title, more, teacher in (
                ("alone", "no teacher", {}, None),
                ("alone-longer", "no teacher, for as long as both stages", {"longer": True}, None),
                ("taught", "taught by the student's student", {}, "student-2"),
                (
                    "taught-heavy-kd",
                    "the same, L_KD times a hundred",
                    {"method.knowledge_weight": 10.0},
                    "student-2",
                ),
            )
        ),
        _student(
            "no-cameras",
            "any images of the identity",
            "where a set's images come from",
            **{"data.sets.source": "identity"},
        ),
        _student(
            "time", "frames of one tracklet", "where a set's images come from", **{"data.sets.source": "tracklet"}
        ),
    ]
    return Study(
        "vkd", "views knowledge distillation", tuple(cells), "student", vkd_recipe, columns=COLUMNS, compared=1
    )


def cross_distillation_study(networks: Sequence[str]) -> Study:
    """Return cross-distillation: teachers of each architecture, and students of each architecture from each teacher.

    A student starts from the teacher of its own architecture, so that only its teacher differs.
    """
    cells = [
        Cell(f"teacher-{name}", name, "teachers", VKD, {"stage": "teacher", "method.backbone.name": name})
        for name in networks
    ]
    for own in networks:
        cells += [
            Cell(
                f"{other}-to-{own}",
                f"taught by {other}",
                f"students: {own}",
                VKD,
                {"method.backbone.name": own},
                teacher=f"teacher-{other}",
                start=f"teacher-{own}",
            )
            for other in networks
        ]
    title = "cross-distillation"
    return Study(title, title, tuple(cells), f"teacher-{networks[0]}", vkd_recipe, columns=COLUMNS, compared=1)


def _student(key: str, title: str, group: str, **changes: Any) -> Cell:
    return Cell(key.lower().replace("_", ""), title, group, VKD, changes, teacher="teacher")


def _terms(on: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return on, tuple(key for key, name in TERMS.items() if name not in on)


def vkd_recipe(base: Recipe, cell: Cell, seed: int, out: Path) -> Recipe:
    """Return the recipe of a cell's run with a seed, in the study's folder `out`.

    Raises:
        RecipeError: the base has no teacher stage.
    """
    if base.teacher is None:
        raise RecipeError(
            "the recipe has no `teacher` section. Expected a two-stage recipe, for example vkd_synthetic."
        )
    changes = dict(cell.changes)
    first = teacher_recipe(base)
    if changes.pop("stage", None) == "teacher":
        given = first.model_dump(mode="json")
    else:
        given = base.model_dump(mode="json") | {"teacher": None, "generations": 1}
        if factor := changes.pop("heavier", None):
            given["method"]["knowledge_weight"] *= factor
            given["method"]["distance_weight"] *= factor
        if changes.pop("longer", False):
            given["training"]["epochs"] += first.training.epochs
            given["training"]["validate_every"] = given["training"]["epochs"]
    given["training"]["seed"] = seed

    def run(key: str) -> str:
        return str(out / key / f"seed-{seed}")

    if cell.teacher is not None:
        given["method"] |= {"teacher": run(cell.teacher), "start": run(cell.start) if cell.start else "teacher"}
        guided = [changes.get(f"method.{key}", given["method"][key]) for key in ("knowledge_weight", "distance_weight")]
        if not any(guided):  # it starts as its teacher, which then has nothing to teach
            given["method"] |= {"teacher": None, "start": run(cell.teacher)}
    return make_recipe(given, [f"{key}={value}" for key, value in changes.items()], source=cell.key)
