"""The table of a study: the scores of its finished runs, per cell and seed, as stored in table.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossreid.evaluation.scores import Score
from crossreid.studies.study import COLUMNS, PLAIN, RERANKED_COLUMNS, Cell, Columns, Study, StudyError

FIGURES = ("rank-1", "mAP", "mINP")

Results = dict[int, dict[str, Any]]  # seed to results.json of its run, ascending


def summary(study: Study, out: Path) -> dict[str, Any]:
    """Return the table of what is done: the figures of each seed per cell and space, in the order of the study.

    Raises:
        StudyError: a run has no score of what the study compares.
    """
    found = {cell.key: results for cell in study.cells if (results := _results_of(out / cell.key))}
    columns, compared = _columns_of(study, found)
    spaces = list(dict.fromkeys(space for space, _ in columns))
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for cell in study.cells:
        if cell.key not in found:
            continue
        results = found[cell.key]
        first = next(iter(results.values()))["scores"]
        if missing := [space for space in spaces if space not in first]:
            raise StudyError(f"{out / cell.key}: no score of {missing[0]!r}; its runs have {', '.join(first)}.")
        scores = {space: [Score.from_json(result["scores"][space]) for result in results.values()] for space in spaces}
        rows.append(_row(cell, results, scores))
        score = scores[spaces[0]][0]
        about = {"protocol": score.protocol, "setting": score.setting, "chance": score.chance_rank1}
        if study.tested is not None:  # group rows by the data set that they are scored on
            rows[-1] |= {"tested": cell.tested, "reference": cell.reference or study.reference, **about}
    return {
        "study": study.name,
        "title": study.title,
        "axis": study.axis,
        "reference": study.reference,
        **({} if columns == COLUMNS else {"columns": columns, "compared": compared}),
        **about,
        "rows": rows,
    }


def _results_of(folder: Path) -> Results:
    found: Results = {}
    for path in folder.glob("seed-*/results.json"):
        try:
            found[int(path.parent.name.removeprefix("seed-"))] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StudyError(
                f"{path} is not a valid results.json in a folder seed-NUMBER ({error}). Delete that folder; the study's command "
                "makes it again."
            ) from error
    return dict(sorted(found.items()))


def _columns_of(study: Study, found: Mapping[str, Results]) -> tuple[Columns, int]:
    """Return the study's columns and which one is compared; if it names none, the scores that all of its runs have."""
    if study.columns is not None:
        return study.columns, study.compared
    offered = [list(result["scores"]) for results in found.values() for result in results.values()]
    shared = [space for space in offered[0] if all(space in other for other in offered)] if offered else [PLAIN]
    if PLAIN in shared:
        return RERANKED_COLUMNS, 1
    if not shared:
        raise StudyError(f"{study.title}: its runs have no score in common, so they cannot be compared.")
    # Comparisons of images and videos; with more than two, one figure each, or the table would be too wide.
    figures = ("rank-1", "mAP") if len(shared) <= 2 else ("mAP",)
    return tuple((space, figure) for space in shared for figure in figures), len(figures) - 1


def _row(cell: Cell, results: Results, scores: Mapping[str, list[Score]]) -> dict[str, Any]:
    return {
        "key": cell.key,
        "title": cell.title,
        "group": cell.group,
        "method": cell.method,
        "place": cell.place,
        "published": dict(cell.published) if cell.published else None,
        "seeds": list(results),
        "seconds": [result["seconds"] for result in results.values()],
        "validation": [result["validation"] for result in results.values()],
        "figures": {space: figures_of(each) for space, each in scores.items()},
    }


def figures_of(scores: Sequence[Score]) -> dict[str, list[float]]:
    """Return each figure of a table, one value per score."""
    return {name: [score.value(name) for score in scores] for name in FIGURES}
