"""Finding runs in folders: RegDB's trials, seeds of a study, and the teacher and students of a two-stage recipe."""

from __future__ import annotations

from pathlib import Path


def sorted_trials(folder: Path) -> list[Path]:
    """The trial-* runs in a folder, by number."""
    return numbered_runs(folder, "trial-")


def numbered_runs(folder: Path, prefix: str) -> list[Path]:
    """The runs in a folder that are called `prefix` and a number, by number."""
    found = [path.parent for path in folder.glob(f"{prefix}*/recipe.yaml")]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


def stage_runs(folder: Path) -> list[Path]:
    """The teacher's and the students' runs in a folder of stages, in order; none in an ordinary run."""
    if (folder / "recipe.yaml").is_file():
        return []
    students = sorted(folder.glob("student*/recipe.yaml"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [folder / "teacher" / "recipe.yaml", *students]
    return [path.parent for path in found if path.is_file()]


def runs_in(folder: Path) -> list[Path]:
    """The runs that a folder stands for, in order: its trials, its stages, or itself."""
    return sorted_trials(folder) or stage_runs(folder) or [folder]
