"""The report page of one or several runs: what was evaluated, beside what any training must beat."""

from __future__ import annotations

import contextlib
import itertools
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import crossreid
from crossreid.data.catalogue import describe
from crossreid.data.checking import counted
from crossreid.data.images import load_image
from crossreid.data.records import Record, Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features
from crossreid.evaluation.scores import Score
from crossreid.files import json_rows
from crossreid.methods import METHODS
from crossreid.options import dotted
from crossreid.reporting.curves import RANKS_SHOWN
from crossreid.reporting.html import Report, write_report
from crossreid.reporting.ranked_lists import RankedList, ranked_lists
from crossreid.reporting.score_table import ScoredMethod
from crossreid.runs.alike import what_differs
from crossreid.runs.evaluate import evaluated
from crossreid.runs.floors import floors
from crossreid.runs.folders import source_views, stage_runs, titles_of, weights_folder
from crossreid.runs.named_network import NOT_TRAINED_TITLE
from crossreid.runs.progress import unfinished
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import Run, is_official, is_synthetic, open_run, split_trained_on
from crossreid.runs.scoring import gallery_draw
from crossreid.runs.source_runs import views_or_itself
from crossreid.runs.starting import read_start, start_in_words

FLOOR_NOTES = {
    NOT_TRAINED_TITLE: "the backbone with its original weights, its last feature map or class token",
    "Untrained network": "the same network with random weights",
    "Raw pixels": "grey pixels at 32 x 16, mean and contrast removed",
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
    """Write the self-contained page of one run, or of several with the same test. A run on several data sets has a
    block per data set.

    Args:
        folders: trained runs; existing evaluations are read, not repeated.
        out: the page; by default RUN/report.html for one run, report-A-B.html beside the first for several, so that no
            run's own page is overwritten.
        below: the result of `floors`; if None, the untrained network and raw pixels are scored here.
        titles: printed names of the runs by folder name; by default the method's name.
        commands: the commands that produce this page; by default the runs' evaluation.

    Raises:
        CrossreidError: the runs were tested on different images or by different rules; the message says what differs.
    """
    if len(folders) == 1 and source_views(folders[0]):
        from crossreid.reporting.report_of_sources import report_of_sources

        return report_of_sources(folders[0], out, commands=commands, say=say)
    for folder in folders:
        if several := [run for run in stage_runs(folder) if source_views(run)]:
            raise CrossreidError(
                f"{folder} holds {len(several)} stages on several data sets, too many for one page. Write a report of each: "
                f"crossreid report {several[-1]}"
            )
    opened = [open_run(run) for folder in folders for run in stage_runs(folder) or views_or_itself(folder)]
    tested = [(run, *evaluated(run)) for run in opened]
    for other in tested[1:]:
        if differ := what_differs(tested[0], other):
            raise CrossreidError(
                f"{tested[0][0].folder} and {other[0].folder} cannot be on one page: {'; '.join(differ)}. Write a report of each."
            )
    first, entries = opened[0], []
    features: dict[str, Features] = {}
    history: dict[str, list[dict[str, Any]]] = {}
    names = _titles(opened, titles)
    for title, (run, found, scores) in zip(names, tested, strict=True):
        note = run_note(run) + (f"; {stopped}" if (stopped := unfinished(run.folder, split_trained_on(run))) else "")
        entries.append(ScoredMethod(title, note, tuple(scores)))
        features[title] = found
        history[title] = read_history(weights_folder(run.folder) / "metrics.jsonl")
    if below is None:
        say("scoring the untrained network and raw pixels ...")
        below = floors(first.split, first.recipe, say=say)
    for title, (found, scores) in below.items():
        entries.append(ScoredMethod(title, FLOOR_NOTES[title], tuple(scores)))
        features[title] = found
    say("drawing the page ...")
    page = Report(
        title=f"{' and '.join(entry.name for entry in entries[: len(opened)])} on {place(first.split)}",
        summary=summary(entries, trained=len(opened)),
        entries=tuple(entries),
        features=features,
        ranked=_lists(opened, features),
        history=history,
        data=data_facts(first.split),
        recipe=recipes_as_text(opened, names),
        environment=environment(opened, history),
        commands=commands or tuple(f"crossreid evaluate {run.folder}" for run in opened),
        published=is_official(first.split),
    )
    return write_report(out or page_of(folders), page)


def page_of(folders: Sequence[Path]) -> Path:
    """Return the default path of the page: for one run in its folder, for several beside the first, named after all."""
    if len(folders) == 1:
        return folders[0] / "report.html"
    names = "-".join(name.replace("/", "-") for name in titles_of(folders).values())
    return folders[0].resolve().parent / f"report-{names[:100]}.html"


def _titles(runs: Sequence[Run], titles: Mapping[str, str] | None) -> list[str]:
    """Return each run's name: as given, or its method, with its folder if that alone is ambiguous."""
    given = [(titles or {}).get(run.folder.name) for run in runs]
    methods = [METHODS[run.recipe.method.name].title for run in runs]
    places = titles_of([run.folder for run in runs])
    staged = [run.recipe.method.name == "view_distillation" for run in runs]
    named = [
        own or (f"{method} ({places[run.folder]})" if stage or methods.count(method) > 1 else method)
        for run, own, method, stage in zip(runs, given, methods, staged, strict=True)
    ]
    return [name if named.count(name) == 1 else f"{name} ({run.folder})" for name, run in zip(named, runs, strict=True)]


def recipes_as_text(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Return the first run's recipe, and the differences of the others."""
    first = dotted(runs[0].recipe.model_dump(mode="json"))
    parts = [runs[0].recipe.as_yaml() if len(runs) == 1 else f"# {names[0]}\n{runs[0].recipe.as_yaml()}"]
    for run, name in zip(runs[1:], names[1:], strict=True):
        other = dotted(run.recipe.model_dump(mode="json"))
        differ = [
            f"# {key}: {other.get(key, 'not there')}"
            for key in dict.fromkeys((*first, *other))
            if first.get(key) != other.get(key)
        ]
        parts.append("\n".join([f"# {name}: {'the same except for' if differ else 'the same'}", *differ]))
    return "\n".join(parts)


def _lists(opened: Sequence[Run], features: Mapping[str, Features]) -> dict[str, tuple[RankedList, ...]]:
    """Return ranked lists of each run, for the queries of the first; images come from each run's own data set."""
    lists: dict[str, tuple[RankedList, ...]] = {}
    shown: tuple[RankedList, ...] = ()
    for run, (title, found) in zip(opened, features.items(), strict=False):
        shown = ranked_lists(
            replace(found, names=np.arange(len(found)).astype(np.str_)),  # a path may stand for several images
            partial(_image_of_row, records_of(run, found)),
            protocol=run.split.protocol,
            metric=run.recipe.evaluation.metric,
            like=shown,
            **gallery_draw(run.split, run.recipe),
        )
        lists[title] = shown
    return lists


def _image_of_row(records: Sequence[Record], row: str) -> np.ndarray:
    return load_image(records[int(row)])  # from the record, so that a pseudo-infrared query is shown as one


def records_of(run: Run, features: Features) -> list[Record]:
    """Return the record of each row of a run's features.

    Raises:
        CrossreidError: the data set has other images than when the run was evaluated.
    """
    test = run.split.test
    if [record.name for record in test] == features.names.tolist():
        return list(test)
    known = {(record.name, int(record.modality)): record for record in test}
    rows = list(zip(features.names.tolist(), features.modalities.tolist(), strict=True))
    missing = [name for name, modality in rows if (name, modality) not in known]
    if missing:
        raise CrossreidError(
            f"{run.results / 'features.npz'} has other images than {run.split.name} at {run.split.root} has now: {missing[0]} "
            f"is not in its test part. Evaluate again: crossreid evaluate {run.folder}"
        )
    return [known[row] for row in rows]


def place(split: Split) -> str:
    """Describe the images."""
    title = describe(split.name).title
    return f"a synthetic world in {title}'s layout" if is_synthetic(split.root) else title


def run_note(run: Run) -> str:
    """Describe the network briefly."""
    setting = getattr(run.recipe.method, "setting", None)
    size = sum(parameter.numel() for parameter in run.method.parameters()) / 1e6
    return f"{run.recipe.method.backbone.name}, {size:.1f} M parameters" + (f", setting {setting}" if setting else "")


def summary(entries: Sequence[ScoredMethod], trained: int = 1) -> str:
    """Return one sentence on each entry's rank-1 in the first entry's first setting, compared with chance, and on crossing curves."""
    first = entries[0].scores[0]
    here = [(entry.name, s) for entry in entries for s in entry.scores if _alike(s, first)]
    others = "; ".join(f"{name.lower()} {100 * score.rank(1):.1f}%" for name, score in here[1:])
    text = (
        f"{entries[0].name} finds the right identity first for {100 * first.rank(1):.1f}% of the queries "
        f"({first.setting}), {first.rank(1) / first.chance_rank1:.1f} times chance ({100 * first.chance_rank1:.1f}%). "
        f"In the same test: {others}."
    )
    stopped = [f"{entry.name} is {part}." for entry in entries[:trained] if (part := entry.note.partition("; ")[2])]
    return "\n\n".join(
        [text, *crossings([row for row in here if row[0] in {e.name for e in entries[:trained]}]), *stopped]
    )


def _alike(one: Score, two: Score) -> bool:
    return (one.setting, one.re_ranked, one.normalised) == (two.setting, two.re_ranked, two.normalised)


def crossings(scores: Sequence[tuple[str, Score]]) -> list[str]:
    """Return a line for each pair whose CMC curves cross within the ranks shown: neither is better overall."""
    lines = []
    for (one, mine), (two, yours) in itertools.combinations(scores, 2):
        gaps = [mine.rank(k) - yours.rank(k) for k in range(1, RANKS_SHOWN + 1)]
        ahead = next((number for number, gap in enumerate(gaps) if abs(gap) > 1e-9), None)
        if ahead is None:
            continue
        turn = next((k for k, gap in enumerate(gaps, start=1) if gap * gaps[ahead] < -1e-18), None)
        if turn is not None:
            better, other = (one, two) if gaps[ahead] > 0 else (two, one)
            lines.append(
                f"The CMC curves cross: {better} is ahead at rank {ahead + 1}, {other} at rank {turn} "
                f"({100 * (yours if other == two else mine).rank(turn):.1f}% against "
                f"{100 * (mine if other == two else yours).rank(turn):.1f}%)."
            )
    return lines


def data_facts(split: Split) -> dict[str, str]:
    """Return the training and test data in numbers."""
    images = Counter(record.identity for record in split.train)
    cameras = sorted({record.camera for record in (*split.train, *split.test)} - {0})
    facts = {"data set": f"{place(split)}, protocol {split.protocol}"}
    facts |= {what: f"{count:,}" for what, count in counted(split).items()}
    if images:
        facts["training images per identity"] = f"{min(images.values())} to {max(images.values())}"
    named = ", ".join(map(str, cameras)) if len(cameras) <= 12 else f"{len(cameras)}"
    facts["cameras"] = named or "unknown"
    return facts | ({"notes": "; ".join(split.notes)} if split.notes else {})


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; none if the file is missing."""
    if not path.is_file():
        return []
    return [row for row in json_rows(path) if isinstance(row.get("step"), int)]


def environment(
    runs: Sequence[Run] = (), history: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> dict[str, str]:
    """Return versions, date and machine, without host or folder names, each run's training time, and what it started from."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {torch.get_num_threads()}"
    facts = {
        "crossreid": crossreid.__version__,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "device": device,
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for run, (title, rows) in zip(runs, (history or {}).items(), strict=False):
        if seconds := training_seconds(run.recipe, rows):
            facts[f"training time, {title}" if len(runs) > 1 else "training time"] = duration(seconds)
        if start := read_start(run.folder):
            facts[f"started from, {title}" if len(runs) > 1 else "started from"] = start_in_words(start)
    return facts


def processor() -> str:
    """Return the processor's name, or its architecture if the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def training_seconds(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds of all training steps, from their images and speed, excluding the time between steps."""
    sampler, training = recipe.data.sampler, recipe.training
    images = sampler.identities * sampler.images * recipe.data.sets.size * training.devices * training.nodes
    speeds = [row["images_per_second"] for row in rows if isinstance(row.get("images_per_second"), int | float)]
    return sum(images / speed for speed in speeds if speed > 0)


def duration(seconds: float) -> str:
    """Return hours and minutes, or less, as text."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min in steps"
    return f"{minutes} min {rest} s in steps" if minutes else f"{seconds:.0f} s in steps"
