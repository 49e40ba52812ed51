"""Find runs in folders: RegDB's trials, seeds of a study, teacher and students; and name them in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crossreid.errors import CrossreidError

SOURCES = "sources"  # holds one folder per data set of a run on several


def sorted_trials(folder: Path) -> list[Path]:
    """Return the trial-* runs in a folder, by number."""
    return numbered_runs(folder, "trial-")


def numbered_runs(folder: Path, prefix: str) -> list[Path]:
    """Return the runs in a folder named `prefix` plus a number, by number."""
    found = {path.parent: path.parent.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*/recipe.yaml")}
    return sorted((path for path, number in found.items() if number.isdecimal()), key=lambda path: int(found[path]))


def stage_runs(folder: Path) -> list[Path]:
    """Return the teacher's and students' runs in a folder of stages, in order; none for an ordinary run."""
    if (folder / "recipe.yaml").is_file():
        return []
    students = sorted(folder.glob("student*/recipe.yaml"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [folder / "teacher" / "recipe.yaml", *students]
    return [path.parent for path in found if path.is_file()]


def source_views(folder: Path) -> list[Path]:
    """Return the source folders of a run on several data sets; each opens as the same run on that source alone."""
    return sorted(path.parent for path in folder.glob(f"{SOURCES}/*/recipe.yaml"))


def weights_folder(folder: Path) -> Path:
    """Return the folder with a run's checkpoints and log: its own or, for a source's folder, that of its run."""
    if folder.parent.name == SOURCES and (folder.parent.parent / "recipe.yaml").is_file():
        return folder.parent.parent
    return folder


def runs_in(folder: Path) -> list[Path]:
    """Return the runs that a folder stands for, in order: its trials, its stages, or itself."""
    return sorted_trials(folder) or stage_runs(folder) or [folder]


def seeds_of(folder: Path) -> list[Path]:
    """Return a run, or the seed-* runs in a folder by number."""
    if (folder / "recipe.yaml").is_file():
        return [folder]
    found = numbered_runs(folder, "seed-")
    if not found:
        raise CrossreidError(
            f"{folder} holds no run: expected a folder that `crossreid train` wrote, or one with seed-* runs that "
            "`crossreid ablate` wrote."
        )
    return found


def titles_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the names in tables and figures: each one's own or, if two are the same, with its parent folder's."""
    names = [path.resolve().name for path in paths]
    return {
        path: name if names.count(name) == 1 else f"{_holder(path.resolve()).name}/{name}"
        for path, name in zip(paths, names, strict=True)
    }


def named_runs(paths: Sequence[Path], titles: Mapping[str, str] | None = None) -> dict[str, list[Path]]:
    """Return the runs of each line, bar or panel by name: one, or one per seed.

    A path is a run, a folder of seed-* runs, a folder of stages (teacher and students are listed separately), or a
    folder of seed-* folders of stages. A run on several data sets is listed once per data set.

    Args:
        titles: names for some of them instead.

    Raises:
        CrossreidError: a folder has no runs, two entries have one name, or a title matches none of them.
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
        raise CrossreidError(f"--title {wrong[0]!r}: nothing has this name; expected one of: {', '.join(known)}.")
    named = {(titles or {}).get(name, name): runs for name, runs in found}
    if len(named) < len(found):
        raise CrossreidError(f"two of {', '.join(known)} have the same name. Give them different names with --title.")
    return named


def _members(folder: Path) -> dict[str, Path]:
    """Return a folder's stages and the sources of the run or of each stage, by distinguishing name; none for other runs."""
    found: dict[str, Path] = {}
    for run in stage_runs(folder) or [folder]:
        stage = () if run == folder else (run.name,)
        found |= {"/".join((*stage, view.name)): view for view in source_views(run)} or dict.fromkeys(stage, run)
    return found


def _holder(path: Path) -> Path:
    """Return the folder whose name distinguishes equal names: for a source, that of its run."""
    return weights_folder(path) if weights_folder(path) != path else path.parent
