"""A two-stage recipe: the teacher's run, then the student's, then those of the students that it teaches in turn.

A recipe's `teacher` section holds the changes for the teacher's run. The runs are OUT/teacher, OUT/student and, for
later generations, OUT/student-2 ...; each is an ordinary run, resumed like any other.
"""

from __future__ import annotations

from pathlib import Path

from crossreid.data.records import Split, labels_of
from crossreid.data.sources import same_identities
from crossreid.errors import CrossreidError
from crossreid.methods.view_distillation import ViewDistillation, ViewDistillationOptions, start_from
from crossreid.runs.recipe import Recipe, recipe_of_run, teacher_recipe
from crossreid.runs.run import open_run

STAGES = ("teacher", "student")


def stage_recipes(recipe: Recipe, out: Path, stage: str | None = None) -> list[tuple[Path, Recipe]]:
    """Return folder and recipe of each run that `recipe` stands for, in order; the recipe itself if it has one stage.

    Args:
        stage: `teacher` or `student`, for the runs of that stage only.

    Raises:
        CrossreidError: the recipe does not have that stage.
    """
    runs = [(out, recipe)]
    if recipe.teacher is not None:
        runs = [(out / "teacher", teacher_recipe(recipe))]
        for generation in range(1, recipe.generations + 1):
            method = recipe.method.model_copy(update={"teacher": runs[-1][0]})
            alone = recipe.model_copy(update={"method": method, "teacher": None, "generations": 1})
            if isinstance(recipe.method, ViewDistillationOptions) and generation > 1:
                alone = _slower(alone, recipe.method, generation - 1)
            runs.append((out / student_name(generation), alone))
    if stage is None:
        return runs
    if stage not in STAGES or len(runs) == 1:
        known = "the recipe has no `teacher` section" if len(runs) == 1 else f"expected one of {', '.join(STAGES)}"
        raise CrossreidError(f"--stage {stage!r}: {known}.")
    return runs[:1] if stage == "teacher" else runs[1:]


def _slower(recipe: Recipe, method: ViewDistillationOptions, times: int) -> Recipe:
    """Return `recipe` with the learning rate of the generation `times` after the first."""
    training = recipe.training
    rate = max(training.optimiser.lr * method.generation_factor**times, method.generation_lowest_rate)
    optimiser = training.optimiser.model_copy(update={"lr": rate})
    return recipe.model_copy(update={"training": training.model_copy(update={"optimiser": optimiser})})


def student_name(generation: int) -> str:
    return "student" if generation == 1 else f"student-{generation}"


def prepare_student(student: ViewDistillation, recipe: Recipe, split: Split) -> None:
    """Give the network its initial weights and its teacher, as the recipe names them.

    Raises:
        CrossreidError: there is no such run, the teacher has other identities, or the start another architecture.
    """
    options = student.options
    if options.start == "teacher" and options.teacher is None:
        raise CrossreidError("method.start is 'teacher', but method.teacher names none. Give the folder of its run.")
    if options.start != "weights":
        start = options.teacher if options.start == "teacher" else options.start
        start_from(
            student,
            open_run(Path(str(start))).method,
            reset_last_stage=options.reset_last_stage,
            extent=options.reset_extent,
        )
    if options.teacher is None:
        return
    teacher = open_run(options.teacher, split=split if _same_data(options.teacher, recipe) else None)
    seen, taught = recipe.data.normalisation, teacher.recipe.data.normalisation
    if seen != taught:
        raise CrossreidError(
            f"the teacher {options.teacher} was trained with images of {taught}, the student would use {seen}, but both get the "
            f"same images. Set data.normalise.mean={list(taught.mean)} and data.normalise.std={list(taught.std)}."
        )
    if recipe.data.levels != teacher.recipe.data.levels:
        raise CrossreidError(
            f"the teacher {options.teacher} was trained with data.levels {teacher.recipe.data.levels!r}, the student would use "
            f"{recipe.data.levels!r}, but both get the same images. Set data.levels to the teacher's value."
        )
    own, other = labels_of(split.train), labels_of(teacher.split.train)
    if own != other:
        raise CrossreidError(
            f"the teacher {options.teacher} was trained on {len(other)} identities, the student would be on {len(own)}, and "
            "these are not the same. Train both on the same training identities."
        )
    student.teach(teacher.method)


def _same_data(folder: Path, recipe: Recipe) -> bool:
    there = recipe_of_run(folder).data if (folder / "recipe.yaml").is_file() else None
    return there is not None and same_identities(there.model_dump(), recipe.data.model_dump())
