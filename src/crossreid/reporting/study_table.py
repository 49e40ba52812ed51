"""The table of a study, for a terminal and as Markdown: means and spreads over seeds, with the published row beside each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from crossreid.files import write_text
from crossreid.studies.study import COLUMNS
from crossreid.terminal import FigureTable

SHORT = {
    "both": "v and z",
    "image to video": "I2V",
    "video to video": "V2V",
    "image to image": "I2I",
    "video to image": "V2I",
    "infrared to visible": "IR-VIS",
    "visible to infrared": "VIS-IR",
}


def columns_of(table: Mapping[str, Any]) -> tuple[list[tuple[str, str]], tuple[str, str]]:
    """Return the (space, figure) of each column, and the one whose differences are shown."""
    columns = [(str(space), str(figure)) for space, figure in table.get("columns", COLUMNS)]
    return columns, columns[table.get("compared", 2)]


def rows_of(table: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Return the rows of each group as text, in percent: title, columns, the difference per seed, and published figures, if any."""
    by_key = {row["key"]: row for row in table["rows"]}
    columns, compared = columns_of(table)
    any_published = _any_published(table)
    groups: dict[str, list[list[str]]] = {}
    for row in table["rows"]:
        published = row["published"]
        groups.setdefault(row["group"], []).append(
            [
                row["title"],
                *(
                    spread(row["figures"][space][figure]) if space in row["figures"] else "–"
                    for space, figure in columns
                ),
                _difference(row, by_key.get(row.get("reference", table["reference"])), compared),
                *(
                    [f"{100 * published['rank-1']:.2f} / {100 * published['mAP']:.2f}" if published else ""]
                    * any_published
                ),
            ]
        )
    return list(groups.items())


def head_of(table: Mapping[str, Any]) -> list[str]:
    columns, compared = columns_of(table)
    of = "" if compared == COLUMNS[2] else f"{_titled(compared)}, "
    own = {row["title"] for row in table["rows"] if row.get("reference") == row["key"]}  # with one reference per group
    against = f"{of}against {' or '.join(sorted(own)) or _named(table, table['reference'])}"
    return ["", *map(_titled, columns), against, *["published on SYSU-MM01, rank-1 / mAP"] * _any_published(table)]


def _named(table: Mapping[str, Any], key: str) -> str:
    """Return the title of a row, after its group's if it says too little by itself."""
    titles = [row["title"] for row in table["rows"]]
    for row in table["rows"]:
        if row["key"] == key:
            alone = titles.count(row["title"]) == 1 and not row["title"].isdigit()
            return row["title"] if alone else f"{row['group']}, {row['title']}"
    return key


def _any_published(table: Mapping[str, Any]) -> bool:
    return any(row["published"] for row in table["rows"])


def _titled(column: tuple[str, str]) -> str:
    space, figure = column
    return f"{figure}, {_short(space)}"


def _short(space: str, separator: str = ", ") -> str:
    """Return the space's name with its parts abbreviated, for example of `infrared to visible, image to video`."""
    return separator.join(SHORT.get(part, part) for part in space.split(", "))


def note_of(table: Mapping[str, Any]) -> str:
    """Say how the figures were obtained."""
    seeds = sorted({seed for row in table["rows"] for seed in row["seeds"]})
    over = "mean ± standard deviation over seeds" if len(seeds) > 1 else "seed"
    spaces = {space for space, _ in columns_of(table)[0]}
    of = "" if "columns" in table and "re-ranked" not in spaces else f", {table['setting']}"
    reranked = "k-reciprocal re-ranking where named" if "re-ranked" in spaces else "not re-ranked"
    own = {row["tested"]: row for row in table["rows"] if "tested" in row}  # data sets with their own protocols
    protocols = "; ".join(f"{name} by {row['protocol']}" for name, row in own.items()) or table["protocol"]
    chance = (
        ", ".join(f"{100 * row['chance']:.1f} on {name}" for name, row in own.items()) or f"{100 * table['chance']:.1f}"
    )
    if own:
        of = ""
    return (
        f"{protocols}{of}, {reranked}; percent; {over} "
        f"{', '.join(map(str, seeds))}; chance {chance}. Differences are of the same seeds."
    )


def terminal_table(table: Mapping[str, Any]) -> Group:
    """Return the same for a terminal of any width, one table per group; the published figure is only rank-1."""
    columns, compared = columns_of(table)
    views = []
    for group, rows in rows_of(table):
        view = FigureTable(group, ["", *_narrow(columns), "difference", *["published"] * _any_published(table)])
        for cells in rows:
            view.add_row(cells[0], *(cell.split(" / ")[0].replace(" ", "") for cell in cells[1:]))
        views.append(view)
    against = head_of(table)[1 + len(columns)]
    of = f", {compared[1]} of both" if compared == COLUMNS[2] else ""
    published = " published: rank-1." if _any_published(table) else ""
    note = f"{note_of(table)} difference: {against}{of}.{published}"
    return Group(*views, Text(note, style="italic"))


def _narrow(columns: list[tuple[str, str]]) -> list[str]:
    if columns == list(COLUMNS):
        return ["rank-1 v", "z", "both", "mAP both"]
    return [" ".join((figure, _short(space, "\n"))) for space, figure in columns]


def markdown_table(table: Mapping[str, Any]) -> str:
    lines = [f"| {' | '.join(head_of(table))} |", f"|{'---|' * len(head_of(table))}"]
    for group, rows in rows_of(table):
        lines.append(f"| **{group}** |{' |' * (len(head_of(table)) - 1)}")
        lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([*lines, "", *textwrap.wrap(note_of(table), 120, break_on_hyphens=False), ""])


def write_markdown(table: Mapping[str, Any], out: Path) -> Path:
    """Write the table to `out`/table.md, and return its path."""
    path = out / "table.md"
    write_text(path, markdown_table(table))
    return path


def spread(values: Sequence[float] | np.ndarray, *, sign: str = "") -> str:
    """Return fractions of several seeds in percent: their mean and, for more than one, their standard deviation.

    Args:
        sign: `+` for differences, whose mean then always has a sign.
    """
    each = 100 * np.array(values)
    return f"{each.mean():{sign}.1f} ± {each.std(ddof=1):.1f}" if len(each) > 1 else f"{each[0]:{sign}.1f}"


def _difference(row: Mapping[str, Any], reference: Mapping[str, Any] | None, compared: tuple[str, str]) -> str:
    if reference is None or row["key"] == reference["key"]:
        return ""
    space, figure = compared
    if space not in row["figures"]:
        return ""
    own, other = (dict(zip(r["seeds"], r["figures"][space][figure], strict=True)) for r in (row, reference))
    shared = [own[seed] - other[seed] for seed in own if seed in other]
    if not shared:
        return ""
    return spread(shared, sign="+")
