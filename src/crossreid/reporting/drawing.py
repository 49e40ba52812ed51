"""One style for all charts: inline SVG that follows a page's fonts and light or dark colours, or files.

A chart is drawn in the light palette below; each of its colours is then replaced by the CSS variable of that name,
which the page sets for light and for dark. The hues are those of Okabe and Ito ("Color Universal Design", 2008),
adjusted in lightness where one would vanish on the page's background, plus a wine and a violet if eight are not enough.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crossreid.files import replacing

SERIES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10")
# Line patterns as on-off lengths in points, so that lines differ without colour.
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (3, 1, 3, 3), (9, 3))

PALETTE: dict[str, tuple[str, str]] = {  # name: (light, dark)
    "ink": ("#1b2430", "#e8ecf1"),
    "muted": ("#566171", "#a3aebc"),
    "rule": ("#d8dde4", "#353e4a"),
    "ground": ("#fdfdfc", "#12161c"),
    "panel": ("#f4f5f3", "#1a2029"),
    "s1": ("#0072b2", "#4aa8e8"),
    "s2": ("#d55e00", "#ff8340"),
    "s3": ("#00885f", "#2cc79a"),
    "s4": ("#b85c92", "#e79ac6"),
    "s5": ("#d98b00", "#f0b429"),
    "s6": ("#3a9ad6", "#9adcff"),
    "s7": ("#b5a900", "#f4ea6a"),
    "s8": ("#3d4653", "#c9d2dd"),
    "s9": ("#882255", "#c65a94"),
    "s10": ("#6a4fc4", "#ab93ff"),
}

_FILES: tuple[tuple[str, dict[str, Any]], ...] = (  # file formats of a figure, with savefig's options
    (".svg", {"metadata": {"Date": None}}),
    (".png", {"dpi": 160, "metadata": {"Software": None}}),
)
_LABEL = 8.5  # points; the page scales charts, so this is about 11 px on screen


def colour(name: str) -> str:
    """Return the colour to draw with, which the page will replace by its variable of that name."""
    return PALETTE[name][0]


def series(index: int) -> tuple[str, tuple[float, ...]]:
    """Return colour name and line pattern of the index-th method on a page."""
    return SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]


def palette_css(dark: bool) -> str:
    """Return the declarations of all variables, light or dark."""
    return " ".join(f"--{name}: {values[dark]};" for name, values in PALETTE.items())


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty chart of that size in inches, framed only on the left and below."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    drawn.patch.set_visible(False)
    axes = drawn.add_subplot()
    style(axes)
    return drawn, axes


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """Return charts side by side, `width` x `height` inches each, by row and column."""
    drawn = Figure(figsize=(columns * width, rows * height), layout="constrained")
    drawn.patch.set_visible(False)
    grid = drawn.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        style(axes)
    return drawn, [list(row) for row in grid]


def style(axes: Axes) -> None:
    """Set a frame only on the left and below, subtle ticks, and horizontal lines."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colour("rule"))
    axes.tick_params(which="both", colors=colour("muted"), labelsize=_LABEL, length=0, pad=4)
    axes.grid(axis="y", color=colour("rule"), linewidth=0.6)
    axes.set_axisbelow(True)


def title(axes: Axes, text: str) -> None:
    """Write a panel's title above it on the left."""
    axes.set_title(text, fontsize=_LABEL + 1, color=colour("ink"), loc="left", parse_math=False)


def save(drawn: Figure, out: Path, name: str) -> list[Path]:
    """Write NAME.svg and NAME.png into the folder `out`, on white, atomically.

    The same figure gives the same bytes. It is laid out once, for the first file.
    """
    drawn.patch.set_visible(True)
    drawn.patch.set_facecolor("white")
    written = []
    for suffix, options in _FILES:
        path = out / f"{name}{suffix}"
        with replacing(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "crossreid"}):
            drawn.savefig(temporary, **options)
        drawn.set_layout_engine("none")
        written.append(path)
    return written


def name_axes(axes: Axes, across: str, up: str) -> None:
    """Label the axes."""
    axes.set_xlabel(across, fontsize=_LABEL, color=colour("muted"), parse_math=False)
    axes.set_ylabel(up, fontsize=_LABEL, color=colour("muted"), parse_math=False)


def name_lines(drawn: Figure, names: Sequence[str]) -> None:
    """Add a legend below a figure for the series in `names`."""
    handles = []
    for place, name in enumerate(names):
        shade, pattern = series(place)
        handles.append(Line2D([], [], color=colour(shade), dashes=pattern or (None, None), linewidth=1.8, label=name))  # type: ignore[arg-type]
    drawn.legend(handles=handles, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)


def download(drawn: Figure, name: str) -> str:
    """Return a link that saves the chart as NAME.svg, in the light palette on white, without any request."""
    buffer = io.StringIO()
    drawn.patch.set_visible(True)
    drawn.patch.set_facecolor("white")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "crossreid"}):
        FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn.patch.set_visible(False)
    data = base64.b64encode(buffer.getvalue().encode()).decode("ascii")
    return (
        f'<a class="save" download="{escape(name)}.svg" href="data:image/svg+xml;base64,{data}" '
        f'aria-label="Save the figure {escape(name)} as SVG">save as SVG</a>'
    )


def svg(drawn: Figure, label: str, prefix: str, name: str = "") -> str:
    """Return the chart as an `<svg>` element; `label` is its text alternative, `prefix` makes its identifiers unique.

    With a `name`, a link below it saves it under that name.
    """
    if name:
        shown = svg(drawn, label, prefix)
        drawn.set_layout_engine("none")  # it is already laid out
        return shown + download(drawn, name)
    buffer = io.StringIO()
    settings: dict[Any, str] = {"svg.fonttype": "none", "svg.hashsalt": "crossreid"}
    with matplotlib.rc_context(settings):
        FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root, body = re.fullmatch(r".*?(<svg\b[^>]*>)(.*)", buffer.getvalue(), flags=re.DOTALL).groups()  # type: ignore[union-attr]
    body = re.sub(r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{prefix}-", body)
    # Each text has its own font list; the page's font replaces it, at the size that was laid out.
    body = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for name, (light, _) in PALETTE.items():
        body = body.replace(light, f"var(--{name})")
    body = re.sub(r"\n\s*", "\n", body)
    box = re.findall(r'viewBox="[^"]*"', root)[0]
    return f'<svg class="chart" role="img" aria-label="{escape(label)}" {box}>{body.strip()}'


def legend(entries: Sequence[tuple[str, str, Sequence[float]]]) -> str:
    """Return names beside a sample of their line: `(name, colour, pattern)` each."""
    items = []
    for name, shade, pattern in entries:
        dashes = f' stroke-dasharray="{" ".join(f"{length:g}" for length in pattern)}"' if pattern else ""
        items.append(
            f'<li><svg class="swatch" viewBox="0 0 28 8" aria-hidden="true"><line x1="0" y1="4" x2="28" y2="4" '
            f'style="stroke: var(--{shade})"{dashes}/></svg>{escape(name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'
