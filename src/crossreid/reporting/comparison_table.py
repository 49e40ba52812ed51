"""Comparisons of runs, for a terminal and as CSV, LaTeX and Markdown in percent, and as JSON: differences with intervals."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from crossreid.errors import CrossreidError
from crossreid.evaluation.paired import Difference
from crossreid.evaluation.scores import KEYS, conditions
from crossreid.files import write_json, write_text
from crossreid.runs.compare import COMPARED, Compared, Comparison
from crossreid.terminal import FigureTable


def terminal_comparison(found: Sequence[Comparison], notes: Sequence[str] = ()) -> Group:
    """Return a table of scores and one of differences per setting, and what was not comparable."""
    views: list[RenderableType] = []
    for one in found:
        scores = FigureTable(_titled(one), ["", *KEYS])
        for row in one.rows:
            scores.add_row(_named(row), *(_figure(row, key, "\n± ") for key in KEYS))
        against = FigureTable(f"less {one.rows[0].name}, {_interval(one)}", ["", *COMPARED])
        for row in one.rows[1:]:
            cells = (_difference(one.differences[row.name][key], "\n") for key in COMPARED)
            against.add_row(row.name, *cells)
        views += [scores, against, Text(f"{note_of(one)}\n", style="italic")]
    return Group(*views, *(Text(f"not compared: {note}", style="italic") for note in notes))


def note_of(one: Comparison) -> str:
    """Say how the figures were obtained."""
    shared = conditions(replace(one.rows[0].scores[0], trained=""))
    stopped = "".join(f" {row.name} is {text}." for row in one.rows if (text := _stopped(row)))
    over = dict.fromkeys(row.over for row in one.rows if row.over)
    spread = f" ± is the standard deviation over {', '.join(over)}." if over else ""
    metrics = [f"{row.name} by {row.scores[0].metric} distance" for row in one.rows]
    if len({row.scores[0].metric for row in one.rows}) > 1:
        spread += f" Metrics: {', '.join(metrics)}."
    return (
        f"{one.test}; {shared}.{spread} Intervals: {one.resamples:,} paired resamples of the {one.queries:,} queries; they say "
        f"nothing about other training runs.{stopped}"
    )


def as_markdown(found: Sequence[Comparison]) -> str:
    """Return one table per setting: the scores, then the differences from the first row."""
    parts = []
    for one in found:
        heads = ["", *KEYS, *(f"Δ {key} [{100 * one.confidence:g}%]" for key in COMPARED)]
        lines = [f"**{_titled(one)}**", "", f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
        lines += [f"| {' | '.join(cells)} |" for cells in _cells(one, " ± ", str)]
        parts.append("\n".join([*lines, "", f"{note_of(one)} Differences are from {one.rows[0].name}.", ""]))
    return "\n".join(parts)


def as_latex(found: Sequence[Comparison]) -> str:
    """Return one `tabular` per setting, with booktabs' rules, for `\\input`."""
    parts = []
    for one in found:
        heads = ["", *KEYS, *(f"$\\Delta$ {key}" for key in COMPARED)]
        lines = [
            f"% {_titled(one)}",
            f"% {note_of(one)}",
            f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            "\\toprule",
        ]
        lines += [f"{' & '.join(heads)} \\\\", "\\midrule"]
        lines += [f"{' & '.join(cells)} \\\\" for cells in _cells(one, " $\\pm$ ", _escaped)]
        parts.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""]))
    return "\n".join(parts)


def as_csv(found: Sequence[Comparison]) -> str:
    """Return one row per run and setting, in percent, as a spreadsheet can read them."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    ends = ("difference", "low", "high")
    rows.writerow(
        ["protocol", "setting", "re-ranked", "run", *(f"{key}{end}" for key in KEYS for end in ("", " spread")), "over",
         *(f"{key} {end}" for key in COMPARED for end in ends), "queries", "metric", "exclusion", "gallery draw", "trained"]
    )  # fmt: skip
    for one in found:
        for row in one.rows:
            first, own = row.scores[0], one.differences.get(row.name, {})
            figures = [_plain(value) for key in KEYS for value in (row.value(key), row.spread(key))]
            against = [_plain(value) for key in COMPARED for value in (_ends(own[key]) if own else (None,) * 3)]
            rows.writerow(
                [one.protocol, one.setting, one.re_ranked, row.name, *figures, row.over, *against, one.queries, first.metric,
                 first.exclusion, first.gallery_draw, first.trained]
            )  # fmt: skip
    return stream.getvalue()


WRITERS: dict[str, Callable[[Sequence[Comparison]], str]] = {".csv": as_csv, ".tex": as_latex, ".md": as_markdown}


def write_comparison(found: Sequence[Comparison], path: Path) -> Path:
    """Write a comparison in the format of its file's suffix: .csv, .tex, .md or .json.

    Raises:
        CrossreidError: another suffix.
    """
    path = Path(path)
    if path.suffix == ".json":
        write_json(path, [one.to_json() for one in found])
    else:
        check_ending(path)
        write_text(path, WRITERS[path.suffix](found))
    return path


def check_ending(path: Path) -> None:
    """Raise `CrossreidError` for a file without a known writer."""
    if path.suffix not in (*WRITERS, ".json"):
        raise CrossreidError(f"{path}: expected a file ending in {', '.join(WRITERS)} or .json.")


def _cells(one: Comparison, plus: str, escaped: Callable[[str], str]) -> list[list[str]]:
    rows = []
    for row in one.rows:
        own = one.differences.get(row.name)
        against = [escaped(_difference(own[key], " ")) if own else "" for key in COMPARED]
        rows.append([escaped(_named(row, " ")), *(_figure(row, key, plus) for key in KEYS), *against])
    return rows


def _titled(one: Comparison) -> str:
    return (
        f"{one.protocol}, {one.setting}, {'not re-ranked' if one.re_ranked == 'no' else f're-ranked: {one.re_ranked}'}"
    )


def _named(row: Compared, join: str = "\n") -> str:
    return f"{row.name}{join}(not finished)" if _stopped(row) else row.name


def _stopped(row: Compared) -> str:
    return next((score.trained for score in row.scores if score.trained), "")


def _figure(row: Compared, key: str, plus: str) -> str:
    spread = row.spread(key)
    return f"{100 * row.value(key):.2f}" + (f"{plus}{100 * spread:.2f}" if spread is not None else "")


def _difference(difference: Difference, join: str) -> str:
    return f"{100 * difference.mean:+.2f}{join}[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


def _interval(one: Comparison) -> str:
    return f"with the {100 * one.confidence:g} % interval of a paired bootstrap over queries"


def _ends(difference: Difference) -> tuple[float, float, float]:
    return difference.mean, difference.low, difference.high


def _plain(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4f}"


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)
