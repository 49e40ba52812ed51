"""The page of a run on several data sets: scores and curves of each, and a page per data set beside its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from crossreid.evaluation.scores import Score
from crossreid.methods import METHODS
from crossreid.reporting.html import Report, write_report
from crossreid.reporting.report import FLOOR_NOTES, data_facts, environment, read_history, report, run_note
from crossreid.reporting.score_table import ScoredMethod
from crossreid.runs.evaluate import evaluated
from crossreid.runs.floors import floors
from crossreid.runs.folders import source_views, weights_folder
from crossreid.runs.recipe import recipe_of_run
from crossreid.runs.run import open_run
from crossreid.runs.source_runs import mean_over_sources


def report_of_sources(
    folder: Path,
    out: Path | None = None,
    *,
    commands: Sequence[str] = (),
    say: Callable[[str], object] = print,
) -> Path:
    """Write RUN/report.html, with a block per data set, and RUN/sources/NAME/report.html with the lists and maps of
    each.

    Returns:
        The page of all data sets.
    """
    views = {view.name: open_run(view) for view in source_views(folder)}
    firsts: dict[Path, list[Score]] = {}
    rows: dict[str, list[Score]] = {}
    facts: dict[str, str] = {}
    first = next(iter(views.values()))
    title = METHODS[first.recipe.method.name].title
    for name, run in views.items():
        _, scores = evaluated(run)
        firsts[run.folder] = scores
        say(f"{name}: scoring the untrained network and raw pixels ...")
        below = floors(run.split, run.recipe, say=say)
        for entry, found in ((title, scores), *((floor, own) for floor, (_, own) in below.items())):
            rows.setdefault(entry, []).extend(replace(score, setting=f"{name}: {score.setting}") for score in found)
        facts |= {f"{name}: {fact}": value for fact, value in data_facts(run.split).items()}
        report([run.folder], below=below, say=lambda text: None)
    (means,) = mean_over_sources(firsts).values() if len(views) > 1 else ({},)
    said = ", ".join(f"{key} {100 * value:.1f}%" for key, value in means.items())
    summary = (
        f"Trained on {len(views)} data sets together, and tested on each by itself. Mean over them: {said}.\n\n"
        if said
        else ""
    )
    history = {title: read_history(weights_folder(first.folder) / "metrics.jsonl")}
    notes = {title: run_note(first), **FLOOR_NOTES}
    page = Report(
        title=f"{title} on {' and '.join(views)}",
        summary=summary + f"Ranked lists and maps of each are on its own page, for example sources/{next(iter(views))}/report.html.",
        entries=tuple(ScoredMethod(entry, notes[entry], tuple(scores)) for entry, scores in rows.items()),
        history=history,
        data=facts,
        recipe=recipe_of_run(folder).as_yaml(),
        environment=environment([first], history),
        commands=tuple(commands) or (f"crossreid evaluate {folder}",),
    )  # fmt: skip
    return write_report(out or folder / "report.html", page)
