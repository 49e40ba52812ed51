"""The page of a run or of several: what was evaluated, beside what any training must beat."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossreid.data.catalogue import describe
from crossreid.data.images import load_image
from crossreid.data.records import Split
from crossreid.evaluation.features import Features
from crossreid.evaluation.scores import Score
from crossreid.files import json_rows
from crossreid.methods import METHODS
from crossreid.reporting.html import Report, write_report
from crossreid.reporting.ranked_lists import RankedList, ranked_lists
from crossreid.reporting.score_table import ScoredMethod
from crossreid.runs.evaluate import evaluated, floors
from crossreid.runs.folders import stage_runs
from crossreid.runs.run import Run, is_synthetic, open_run

FLOOR_NOTES = {
    "Untrained network": "the same network with the random weights that training starts from",
    "Raw pixels": "grey pixels at 32 x 16, mean and contrast taken out",
}


def report(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    below: Mapping[str, tuple[Features, list[Score]]] | None = None,
    titles: Mapping[str, str] | None = None,
    commands: tuple[str, ...] = (),
    say: Callable[[str], object] = print,
) -> Path:
    """Write the self-contained page of one run or several on the same data set.

    Args:
        folders: trained runs; what is evaluated already is read, not done again.
        below: `floors`' answer; the untrained network and raw pixels are scored here where it is None.
        titles: printed names of the runs by folder name; the method's name where absent.
        commands: what a reader types to get this page; the runs' evaluation where empty.
    """
    opened = [open_run(run) for folder in folders for run in stage_runs(folder) or [folder]]
    first = opened[0]
    entries, features, history, lists = [], {}, {}, {}
    for run in opened:
        given = (titles or {}).get(run.folder.name)
        title = given or METHODS[run.recipe.method.name].title
        if title in features or (given is None and run.recipe.method.name == "view_distillation"):
            title = f"{title} ({run.folder.name})"
        found, scores = evaluated(run)
        entries.append(ScoredMethod(title, run_note(run), tuple(scores)))
        features[title] = found
        history[title] = read_history(run.folder / "metrics.jsonl")
    if below is None:
        say("scoring the untrained network and raw pixels ...")
        below = floors(first.split, first.recipe)
    for title, (found, scores) in below.items():
        entries.append(ScoredMethod(title, FLOOR_NOTES[title], tuple(scores)))
        features[title] = found
    say("drawing the page ...")
    records = {record.path.as_posix(): record for record in first.split.test}
    shown: tuple[RankedList, ...] = ()
    for title in list(features)[: len(opened)]:
        shown = ranked_lists(
            features[title],
            lambda name: load_image(records[name]),  # of a record: a pseudo-infrared query is shown as one
            protocol=first.split.protocol,
            metric=first.recipe.evaluation.metric,
            like=shown,
        )
        lists[title] = shown
    page = Report(
        title=f"{' and '.join(entry.name for entry in entries[: len(opened)])} on {place(first.split)}",
        summary=summary(entries),
        entries=tuple(entries),
        features=features,
        ranked=lists,
        history=history,
        recipe=first.recipe.as_yaml(),
        environment=environment(),
        commands=commands or tuple(f"crossreid evaluate {run.folder}" for run in opened),
        published=not is_synthetic(first.split.root),
    )
    return write_report(out or folders[0] / "report.html", page)


def place(split: Split) -> str:
    """What the images are, in words."""
    title = describe(split.name).title
    return f"a synthetic world in {title}'s layout" if is_synthetic(split.root) else title


def run_note(run: Run) -> str:
    """What the network is, in a few words."""
    setting = getattr(run.recipe.method, "setting", None)
    size = sum(parameter.numel() for parameter in run.method.parameters()) / 1e6
    return f"{run.recipe.method.backbone.name}, {size:.1f} M parameters" + (f", setting {setting}" if setting else "")


def summary(entries: Sequence[ScoredMethod]) -> str:
    """One sentence: each entry's rank-1 in the first entry's first setting, against chance."""
    first = entries[0].scores[0]
    here = [(entry.name, s) for entry in entries for s in entry.scores if s.setting == first.setting]
    others = "; ".join(f"{name.lower()} {100 * score.rank(1):.1f}%" for name, score in here[1:])
    return (
        f"{entries[0].name} finds the right identity first for {100 * first.rank(1):.1f}% of the queries "
        f"({first.setting}), {first.rank(1) / first.chance_rank1:.1f} times chance ({100 * first.chance_rank1:.1f}%). "
        f"In the same test: {others}."
    )


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; none where the file is missing."""
    if not path.is_file():
        return []
    return [row for row in json_rows(path) if isinstance(row.get("step"), int)]


def environment() -> dict[str, str]:
    """Versions and machine, without names of hosts or folders."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
    }
