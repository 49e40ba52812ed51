"""Finding runs in folders: RegDB's trials, seeds of a study, teacher and students; and what each is called in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crossreid.errors import CrossreidError

SOURCES = "sources"  # of a run on several data sets: a folder of each


def sorted_trials(folder: Path) -> list[Path]:
    """The trial-* runs in a folder, by number."""
    return numbered_runs(folder, "trial-")


def numbered_runs(folder: Path, prefix: str) -> list[Path]:
    """The runs in a folder that are called `prefix` and a number, by number."""
    found = {path.parent: path.parent.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*/recipe.yaml")}
    return sorted((path for path, number in found.items() if number.isdecimal()), key=lambda path: int(found[path]))


def stage_runs(folder: Path) -> list[Path]:
    """The teacher's and the students' runs in a folder of stages, in order; none in an ordinary run."""
    if (folder / "recipe.yaml").is_file():
        return []
    students = sorted(folder.glob("student*/recipe.yaml"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [folder / "teacher" / "recipe.yaml", *students]
    return [path.parent for path in found if path.is_file()]


def source_views(folder: Path) -> list[Path]:
    """Of a run on several data sets the folders of its sources, each of which opens as the same run on that one alone."""
    return sorted(path.parent for path in folder.glob(f"{SOURCES}/*/recipe.yaml"))


def weights_folder(folder: Path) -> Path:
    """The folder that holds a run's checkpoints and log: its own, or of the folder of a source the run's that it is of."""
    if folder.parent.name == SOURCES and (folder.parent.parent / "recipe.yaml").is_file():
        return folder.parent.parent
    return folder


def runs_in(folder: Path) -> list[Path]:
    """The runs that a folder stands for, in order: its trials, its stages, or itself."""
    return sorted_trials(folder) or stage_runs(folder) or [folder]


def seeds_of(folder: Path) -> list[Path]:
    """A run, or the seed-* runs in a folder by number."""
    if (folder / "recipe.yaml").is_file():
        return [folder]
    found = numbered_runs(folder, "seed-")
    if not found:
        raise CrossreidError(
            f"{folder} holds no run: expected a folder that `crossreid train` wrote, or one of seed-* runs that "
            "`crossreid ablate` wrote."
        )
    return found


def titles_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What each is called in tables and figures: its own name or, where two have the same, its folder's too."""
    names = [path.resolve().name for path in paths]
    return {
        path: name if names.count(name) == 1 else f"{_holder(path.resolve()).name}/{name}"
        for path, name in zip(paths, names, strict=True)
    }


def named_runs(paths: Sequence[Path], titles: Mapping[str, str] | None = None) -> dict[str, list[Path]]:
    """The runs of each line, bar or panel by its name: one, or one for each seed.

    A path is a run, a folder of seed-* runs, a folder of stages, of its teacher and its students by themselves, or a
    folder of seed-* folders of stages. A run on several data sets is itself on each of them.

    Args:
        titles: what to call some of them instead.

    Raises:
        CrossreidError: a folder without runs, two things of one name, or a title of something else.
    """
    found: list[tuple[str, list[Path]]] = []
    for path, name in titles_of(list(dict.fromkeys(paths))).items():
        staged = [_members(path)] if _members(path) else [_members(seed) for seed in sorted(path.glob("seed-*"))]
        stages: dict[str, list[Path]] = {}
        for own, run in (item for each in staged for item in each.items()):
            stages.setdefault(own if len(paths) == 1 else f"{name}/{own}", []).append(run)
        found += list(stages.items()) or [(name, seeds_of(path))]
    known = [name for name, _ in found]
    wrong = [name for name in titles or {} if name not in known]
    if wrong:
        raise CrossreidError(
            f"--title {wrong[0]!r}: there is nothing of this name; expected one of: {', '.join(known)}."
        )
    named = {(titles or {}).get(name, name): runs for name, runs in found}
    if len(named) < len(found):
        raise CrossreidError(f"two of {', '.join(known)} are called the same. Give them different names with --title.")
    return named


def _members(folder: Path) -> dict[str, Path]:
    """The stages of a folder and the sources of a run, or of each stage, by what tells them apart in it; none of another run."""
    found: dict[str, Path] = {}
    for run in stage_runs(folder) or [folder]:
        stage = () if run == folder else (run.name,)
        found |= {"/".join((*stage, view.name)): view for view in source_views(run)} or dict.fromkeys(stage, run)
    return found


def _holder(path: Path) -> Path:
    """The folder whose name tells one from others that are called the same: of a source the run's."""
    return weights_folder(path) if weights_folder(path) != path else path.parent
