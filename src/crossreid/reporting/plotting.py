"""Figures of runs, features, studies and probes, each written as SVG and PNG."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.features import Features, load
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.scores import Score
from crossreid.models.heads import concatenate_normalised
from crossreid.reporting.curves import History, draw_cmc, draw_history, history_of
from crossreid.reporting.drawing import figure, name_lines, panels, save, title
from crossreid.reporting.embedding_map import Map, draw_maps, map_embeddings, rows_to_map
from crossreid.reporting.report import read_history
from crossreid.reporting.study_plot import STREAMS, draw_estimators, draw_probes, draw_study
from crossreid.runs.alike import what_differs
from crossreid.runs.evaluate import evaluated
from crossreid.runs.folders import seeds_of, titles_of
from crossreid.runs.run import open_run
from crossreid.runs.scoring import stream_features
from crossreid.studies.study import SPACES

FILES = ("table.json", "probes.json", "estimators.json")


def plot(
    paths: Sequence[Path],
    out: Path,
    *,
    protocol: str | None = None,
    titles: Mapping[str, str] | None = None,
    seed: int = 0,
    say: Callable[[str], object] = print,
) -> list[Path]:
    """Plot `paths` into the folder `out`, and return the files written.

    A run, or a folder of seed-* runs (of which the first is plotted), gives t-SNE maps of v and z of each branch and of
    the joint space, its losses and its CMC; several runs also give their joint spaces side by side. A features file
    gives its map and, with a `protocol`, its CMC. A study's folder gives the figure of its table, and a probes.json or
    estimators.json theirs.

    Raises:
        DataError: a path is none of these.
    """
    written: list[Path] = []
    runs: dict[str, Path] = {}
    features: dict[str, Features] = {}
    for path, name in titles_of(paths).items():
        name = (titles or {}).get(name, name)
        if path.is_dir() and not any((path / file).is_file() for file in FILES):
            runs[name] = seeds_of(path)[0]
        elif path.suffix == ".npz":
            features[path.stem if name == path.name else name] = load(path)
        else:
            written += _draw_tables(path, out, titles)
    for name, folder in runs.items():
        say(f"drawing {folder} ...")
        written += save(_branch_maps(folder, seed), out, f"{_file_name(name)}-branches")
    if runs:
        written += _draw_runs(runs, out, seed)
    for name, found in features.items():
        written += save(draw_maps([[(name, _mapped(found, seed))]]), out, f"{_file_name(name)}-map")
    if features and protocol is not None:
        written += save(
            _cmc({name: evaluate(found, protocol) for name, found in features.items()}), out, "features-cmc"
        )
    return written


def _draw_tables(path: Path, out: Path, titles: Mapping[str, str] | None) -> list[Path]:
    found = [path / file for file in FILES if (path / file).is_file()] if path.is_dir() else [path]
    written: list[Path] = []
    for file in found:
        table = _read(file)
        if missing := [key for key in ("title", "axis", "reference", "rows") if "study" in table and key not in table]:
            raise DataError(
                f"{file} is damaged ({missing[0]} is missing). Run the study's command again to rebuild it."
            )
        if "study" in table:
            for figure_name in ("rank-1", "mAP"):
                written += save(draw_study(table, figure_name), out, f"study-{table['study']}-{figure_name}")
        elif "methods" in table:
            written += save(draw_probes(table, titles), out, "probes")
        elif "estimates" in table:
            written += save(draw_estimators(table["estimates"]), out, "estimators")
        else:
            raise DataError(f"{file}: expected what `crossreid ablate` or `crossreid probe` wrote, found other keys.")
    return written


def _read(path: Path) -> dict[str, Any]:
    expected = "a run's folder, features (.npz), a study's folder, probes.json or estimators.json"
    if not path.is_file():
        raise DataError(f"{path} not found. Expected {expected}.")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be plotted. Expected {expected}.") from error
    return table if isinstance(table, dict) else {}


def _branch_maps(folder: Path, seed: int) -> Figure:
    """Draw every branch and the joint space: v above, z below. For a method without branches only its test features."""
    run = open_run(folder)
    if not hasattr(run.method, "observe"):
        return draw_maps([[("test features", _mapped(evaluated(run)[0], seed))]])
    streams = stream_features(run.method, run.split, run.recipe)
    rows: list[list[tuple[str, Map]]] = []
    for place, space in enumerate(SPACES[:2]):
        row = []
        for name, parts in streams.items():
            found = parts[place]
            if name == "specific":  # two branches, each for one modality
                for branch, modality in (("infrared branch", INFRARED), ("visible branch", VISIBLE)):
                    row.append((f"{space}, {branch}", _mapped(found, seed, modality=modality)))
            else:
                row.append((f"{space}, {STREAMS.get(name, name)}", _mapped(found, seed)))
        row.append((f"{space}, joint", _mapped(_joint([parts[place] for parts in streams.values()]), seed)))
        rows.append(row)
    return draw_maps(rows)


def _draw_runs(runs: Mapping[str, Path], out: Path, seed: int) -> list[Path]:
    opened = {name: open_run(folder) for name, folder in runs.items()}
    found = {name: evaluated(run) for name, run in opened.items()}
    first = next(iter(found.values()))[1][0]
    scores = {
        name: [s for s in each if s.setting == first.setting and s.re_ranked == "no"]
        for name, (_, each) in found.items()
    }
    tested = [(run, *found[name]) for name, run in opened.items()]
    for other in tested[1:]:
        if differ := what_differs(tested[0], other):
            raise DataError(
                f"{tested[0][0].folder} and {other[0].folder} cannot be in one figure: {'; '.join(differ)}. Plot them separately."
            )
    written = save(_cmc(scores), out, "cmc")
    if len(runs) > 1:
        maps = [(name, _mapped(features, seed)) for name, (features, _) in found.items()]
        written += save(draw_maps([maps]), out, "joint-maps")
    history = {name: history_of(read_history(folder / "metrics.jsonl")) for name, folder in runs.items()}
    for kind, place in (("losses", 0), ("validation", 1)):
        drawn = _histories({name: both[place] for name, both in history.items()}, fraction=kind == "validation")
        if drawn is not None:
            written += save(drawn, out, kind)
    return written


def _cmc(scores: Mapping[str, Sequence[Score]]) -> Figure:
    """Draw the CMC of each in the first setting."""
    drawn, axes = figure(4.6, 3.2)
    shown = [(place, name, each[0]) for place, (name, each) in enumerate(scores.items())]
    draw_cmc(axes, shown)
    title(axes, f"{PROTOCOLS[shown[0][2].protocol].name}: {shown[0][2].setting}, re-ranked: {shown[0][2].re_ranked}")
    name_lines(drawn, list(scores))
    return drawn


def _histories(curves: Mapping[str, Mapping[str, History]], *, fraction: bool) -> Figure | None:
    terms = list(dict.fromkeys(term for own in curves.values() for term in own))
    if not terms:
        return None
    columns = min(4, len(terms))
    drawn, grid = panels(-(-len(terms) // columns), columns, 2.7, 2.0)
    every = [axes for row in grid for axes in row]
    for axes, term in zip(every, terms, strict=False):
        shown = [(place, name, own[term]) for place, (name, own) in enumerate(curves.items()) if term in own]
        draw_history(axes, term, shown, fraction=fraction)
        title(axes, term)
    for axes in every[len(terms) :]:
        axes.set_visible(False)
    name_lines(drawn, list(curves))
    return drawn


def _joint(parts: Sequence[Features]) -> Features:
    together = concatenate_normalised([torch.from_numpy(part.embeddings) for part in parts]).numpy()
    first = parts[0]
    return Features(
        together,
        first.identities,
        first.cameras,
        first.modalities,
        first.positions,
        first.names,
        first.roles,
        first.frames,
    )


def _mapped(features: Features, seed: int, *, modality: int | None = None) -> Map:
    """Return the map of the rows that every map of this data set shows, of one modality or both."""
    rows = rows_to_map(features, seed=seed)
    if modality is not None:
        rows = rows[features.modalities[rows] == modality]
    return map_embeddings(features.take(rows), metric="cosine", seed=seed)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name.lower())
