"""A recipe of two stages as one job: the teacher's run, then the student's, then the students that it teaches in turn.

A recipe's `teacher` section says what its teacher's run changes of it. The runs lie in OUT/teacher, OUT/student and, of
later generations, OUT/student-2 ...; each is an ordinary run, resumed like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from crossreid.errors import CrossreidError
from crossreid.runs.recipe import Recipe, teacher_recipe
from crossreid.runs.run import train
from crossreid.training.loop import FitResult

STAGES = ("teacher", "student")


def stage_recipes(recipe: Recipe, out: Path) -> list[tuple[Path, Recipe]]:
    """The folder and the recipe of each run that `recipe` stands for, in order; itself, where it has one stage."""
    if recipe.teacher is None:
        return [(out, recipe)]
    runs = [(out / "teacher", teacher_recipe(recipe))]
    for generation in range(1, recipe.generations + 1):
        method = recipe.method.model_copy(update={"teacher": runs[-1][0]})
        alone = recipe.model_copy(update={"method": method, "teacher": None, "generations": 1})
        runs.append((out / student_name(generation), alone))
    return runs


def student_name(generation: int) -> str:
    return "student" if generation == 1 else f"student-{generation}"


def stage_runs(folder: Path) -> list[Path]:
    """The teacher's and the students' runs in a folder of stages, in order; none in an ordinary run."""
    if (folder / "recipe.yaml").is_file():
        return []
    students = sorted(folder.glob("student*/recipe.yaml"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [folder / "teacher" / "recipe.yaml", *students]
    return [path.parent for path in found if path.is_file()]


def train_stages(
    recipe: Recipe,
    out: Path,
    *,
    stage: str | None = None,
    done: Callable[[Path, FitResult], object] | None = None,
) -> Sequence[Path]:
    """Train what `recipe` stands for into `out`, or go on with it; the folders of the runs.

    Args:
        stage: `teacher` or `student`, to train that stage alone.
        done: called with each run's folder and result as it ends.

    Raises:
        CrossreidError: a stage that the recipe does not have, or a student's without its teacher.
    """
    runs = stage_recipes(recipe, out)
    if stage is not None:
        if stage not in STAGES or len(runs) == 1:
            known = "the recipe has no `teacher` section" if len(runs) == 1 else f"expected one of {', '.join(STAGES)}"
            raise CrossreidError(f"--stage {stage!r}: {known}.")
        runs = runs[:1] if stage == "teacher" else runs[1:]
    for folder, own in runs:
        result = train(own, folder)
        if done is not None:
            done(folder, result)
    return [folder for folder, _ in runs]
