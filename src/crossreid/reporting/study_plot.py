"""Figures of studies: ablations as dots per seed, sweeps as curves, probes as bars, estimators beside the truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from crossreid.reporting.drawing import colour, name_axes, panels, series, title

SPACES = {"v": "observations v", "z": "representations z", "both": "v and z"}
STREAMS = {
    "specific": "modality-specific branches",
    "infrared": "infrared branch",
    "visible": "visible branch",
    "shared": "shared branch",
    "shared_grey": "shared branch, grey",
}
GROUP_TITLES = {
    "identity": "identity",
    "identity across": "identity,\nvis. to infra.",
    "shared": "body and\nclothes",
    "visible-only": "colours",
    "infrared-only": "infrared\nreflectance",
    "modality": "modality",
    "camera": "camera",
    "pose": "pose",
}


def draw_study(table: Mapping[str, Any], figure_name: str = "rank-1") -> Figure:
    """Draw the figure of a table.json: a curve if the study has an axis, else one row per cell."""
    return _draw_sweep(table, figure_name) if table["axis"] else _draw_cells(table, figure_name)


def spaces_of(table: Mapping[str, Any]) -> dict[str, str]:
    """Return what is scored, by name in the table and in words."""
    if "columns" not in table:
        return SPACES
    return {space: space for space, _ in table["columns"]}


def _draw_cells(table: Mapping[str, Any], name: str) -> Figure:
    """Draw one row per cell: every seed of each space as dots, their means as bars, and published figures beside, if any."""
    rows = table["rows"]
    spaces = spaces_of(table)
    shades = dict(zip(spaces, ("s1", "s2", "s3", "s4"), strict=False))
    groups = list(dict.fromkeys(row["group"] for row in rows))
    places = [-(index + 0.9 * groups.index(row["group"])) for index, row in enumerate(rows)]
    known = any(row["published"] for row in rows)
    size = (3.9, 0.27 * (len(rows) + len(groups)) + 0.9)
    drawn, (axes_row,) = panels(1, 2, *size) if known else panels(1, 1, 1.4 * size[0], size[1])
    measured, published = axes_row[0], axes_row[-1]
    for offset, (space, shade) in zip(np.linspace(0.22, -0.22, len(shades)), shades.items(), strict=True):
        for place, row in zip(places, rows, strict=True):
            if space not in row["figures"]:
                continue
            values = 100 * np.array(row["figures"][space][name])
            measured.plot(
                values, np.full(len(values), place + offset), "o", color=colour(shade), ms=3.2, mew=0, alpha=0.75
            )
            measured.plot(
                [values.mean()] * 2, [place + offset - 0.12, place + offset + 0.12], color=colour(shade), lw=2
            )
    for place, row in zip(places, rows, strict=True):
        if row["published"] and name in row["published"]:
            published.barh(place, 100 * row["published"][name], height=0.5, color=colour("s6"))
            published.text(100 * row["published"][name] + 1, place, f"{100 * row['published'][name]:.1f}", va="center",
                           fontsize=7.5, color=colour("muted"))  # fmt: skip
    for place, row in zip(places, rows, strict=True):  # row by row, clear of the group headings in between
        chance = [100 * row.get("chance", table["chance"])] * 2
        measured.plot(chance, [place - 0.42, place + 0.42], color=colour("muted"), lw=1, dashes=(1, 2), zorder=1)
    for axes in axes_row:
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=colour("rule"), linewidth=0.6)
        axes.set_ylim(places[-1] - 0.7, 1.0)
    measured.set_yticks(places, [row["title"] for row in rows])
    if known:
        published.set_yticks([])
        published.set_xlim(0, 70)
        name_axes(published, f"published {name}, % (SYSU-MM01)", "")
    for group in groups:
        first = next(place for place, row in zip(places, rows, strict=True) if row["group"] == group)
        measured.text(-0.01, first + 0.62, group, fontsize=7.5, color=colour("muted"), va="center", ha="left",
                      transform=measured.get_yaxis_transform())  # fmt: skip
    name_axes(measured, "", "")
    # Aligned right: long row titles make the axis shorter than its name.
    measured.set_xlabel(f"{name}, % (dots: seeds, bars: means, dotted: chance)", loc="right")
    _legend(measured, [(spaces[space], shade, ()) for space, shade in shades.items()])
    return drawn


def _draw_sweep(table: Mapping[str, Any], name: str) -> Figure:
    """Draw curves over the study's axis, one panel per group: mean over the seeds, with a band of one deviation, and the seeds."""
    on_the_axis = [row for row in table["rows"] if row["place"] is not None]
    groups = list(dict.fromkeys(row["group"] for row in on_the_axis))
    drawn, (row_of_axes,) = panels(1, len(groups), 4.2 if len(groups) == 1 else 3.0, 2.9)
    highest, spaces = 0.0, spaces_of(table)
    for axes, group in zip(row_of_axes, groups, strict=True):
        rows = sorted((row for row in on_the_axis if row["group"] == group), key=lambda row: row["place"])
        places = [row["place"] for row in rows]
        for index, space in enumerate(spaces):
            shade, pattern = series(index)
            each = [100 * np.array(row["figures"][space][name]) for row in rows]
            mean, spread = np.array([e.mean() for e in each]), np.array([deviation(e) for e in each])
            axes.fill_between(places, mean - spread, mean + spread, color=colour(shade), alpha=0.14, linewidth=0)
            axes.plot(places, mean, color=colour(shade), linewidth=1.8, dashes=pattern or (None, None))
            for place, values in zip(places, each, strict=True):
                axes.plot([place] * len(values), values, "o", color=colour(shade), ms=2.6, mew=0, alpha=0.7)
            highest = max(highest, float((mean + spread).max()))
        axes.set_xscale("log", base=2 if _doubling(places) else 10)
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axhline(100 * table["chance"], color=colour("muted"), lw=1, dashes=(1, 2))
        name_axes(axes, str(table["axis"]), f"{name}, %" if axes is row_of_axes[0] else "")
        if len(groups) > 1:
            title(axes, group)
    for axes in row_of_axes:
        axes.set_ylim(0, 1.08 * highest)
    _legend(row_of_axes[0], [(text, *series(index)) for index, text in enumerate(spaces.values())], place="lower left")
    return drawn


def draw_probes(table: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> Figure:
    """Draw what each objective keeps: one row per stream, v on the left and z on the right; bars are linear probes, ticks MLPs."""
    methods = table["methods"]
    streams = list(dict.fromkeys(row["stream"] for row in methods[0]["groups"]))
    drawn, grid = panels(len(streams), 2, 5.2, 2.5)
    width = 0.8 / len(methods)
    for axes_row, stream in zip(grid, streams, strict=True):
        for axes, space in zip(axes_row, ("v", "z"), strict=True):
            for index, method in enumerate(methods):
                shade = colour(series(index)[0])
                for place, group in enumerate(GROUP_TITLES):
                    found = {
                        row["probe"]: 100 * np.array(row["shares"])
                        for row in method["groups"]
                        if (row["stream"], row["space"], row["group"]) == (stream, space, group)
                    }
                    x = place - 0.4 + (index + 0.5) * width
                    for probe, values in found.items():
                        if probe == "linear":
                            axes.bar(x, values.mean(), width * 0.92, color=shade, linewidth=0)
                            axes.errorbar(x, values.mean(), deviation(values), color=colour("ink"), lw=0.7)
                        else:
                            axes.plot(x, values.mean(), "_", color=colour("ink"), ms=5, mew=1.1)
            axes.set_xticks(range(len(GROUP_TITLES)), list(GROUP_TITLES.values()), fontsize=6.4)
            axes.axhline(0, color=colour("muted"), lw=0.7)
            axes.set_ylim(-12, 102)
            title(axes, f"{SPACES[space]}, {STREAMS.get(stream, stream)}")
            name_axes(axes, "", "share read, %" if space == "v" else "")
    names = [(titles or {}).get(method["name"], method["name"]) for method in methods]
    _legend(grid[0][1], [(text, series(index)[0], ()) for index, text in enumerate(names)], bars=True)
    return drawn


def draw_estimators(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw estimate against truth, one panel per estimator: mean over the seeds, with the spread from batch to batch."""
    kinds = list(dict.fromkeys(row["estimator"] for row in rows))
    sizes = sorted({row["dimension"] for row in rows})
    largest = max(row["truth"] for row in rows)
    drawn, (axes_row,) = panels(1, len(kinds), 2.5, 2.6)
    for axes, kind in zip(axes_row, kinds, strict=True):
        axes.plot([0, largest], [0, largest], color=colour("muted"), lw=1)
        axes.axhline(math.log(rows[0]["batch"]), color=colour("muted"), lw=1, dashes=(1, 2))
        for index, size in enumerate(sizes):
            shade, pattern = series(index)
            own = [row for row in rows if (row["estimator"], row["dimension"]) == (kind, size)]
            truths = sorted({row["truth"] for row in own})
            nats = [np.mean([row["nats"] for row in own if row["truth"] == truth]) for truth in truths]
            spread = [np.mean([row["spread"] for row in own if row["truth"] == truth]) for truth in truths]
            low, high = np.subtract(nats, spread), np.add(nats, spread)
            axes.fill_between(truths, low, high, color=colour(shade), alpha=0.16, linewidth=0)
            axes.plot(truths, nats, color=colour(shade), lw=1.8, dashes=pattern or (None, None), marker="o", ms=2.8)
        axes.set_xlim(0, largest)
        axes.set_ylim(0, 1.15 * largest)
        title(axes, kind)
        name_axes(axes, "true I(v; z), nats", "estimate, nats" if axes is axes_row[0] else "")
    _legend(
        axes_row[0], [(f"{size} dimensions", *series(index)) for index, size in enumerate(sizes)], place="upper left"
    )
    return drawn


def _legend(
    axes: Axes, entries: Sequence[tuple[str, str, Sequence[float]]], *, place: str = "best", bars: bool = False
) -> None:
    handles = [
        Line2D([], [], color=colour(shade), linewidth=5 if bars else 1.8, dashes=pattern or (None, None), label=text)  # type: ignore[arg-type]
        for text, shade, pattern in entries
    ]
    where: Any = place
    axes.legend(handles=handles, loc=where, fontsize=7, frameon=False, labelcolor=colour("ink"), handlelength=1.6)


def deviation(values: np.ndarray) -> float:
    """Return the standard deviation over the seeds; 0 for one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _doubling(places: Sequence[float]) -> bool:
    return all(b == 2 * a for a, b in itertools.pairwise(places))
