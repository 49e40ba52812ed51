"""Figures on how trained runs use views: curves by the number of images, camera bias, distances, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from crossreid.analysis.grad_cam import encoder_title
from crossreid.analysis.pair_distances import BINS, KINDS, different, plural
from crossreid.data.transforms import resized
from crossreid.reporting.drawing import colour, name_axes, name_lines, panels, series, title
from crossreid.reporting.study_plot import deviation
from crossreid.reporting.views_table import COMPARISONS

FIGURES = ("rank-1", "mAP")
AXES = {"gallery": "images of each gallery tracklet", "query": "images of each query tracklet"}
HEAT = "inferno"  # its lightness rises evenly, so that it works without colour
_READ = "cameras predicted correctly, % (dots: runs and splits of identities,\nbars: means, dotted: the most frequent camera)"
_KINDS = {"grad-cam": "Grad-CAM of the similarity", "rollout": "attention rollout"}
_SHOWN = 256  # pixels: the height at which images are drawn


def draw_images(table: Mapping[str, Any]) -> Figure:
    """Draw rank-1 and mAP over n of an images.json: one line per name, mean over its runs with a band of one deviation."""
    rows, counts = table["rows"], table["counts"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    kinds = list(dict.fromkeys((row["direction"], row["side"]) for row in rows))
    drawn, grid = panels(len(kinds), len(FIGURES), 3.3, 2.35)
    largest = max([count for count in counts if count], default=1)
    order = sorted(counts, key=lambda count: count or math.inf)
    places = [math.log2(count) if count else math.log2(largest) + 1 for count in order]
    for axes_row, (direction, side) in zip(grid, kinds, strict=True):
        for axes, figure_name in zip(axes_row, FIGURES, strict=True):
            for index, name in reversed(list(enumerate(names))):
                each = [
                    100 * np.array([row[figure_name] for row in rows if (row["name"], row["direction"], row["side"],
                                    row["images"]) == (name, direction, side, count)])
                    for count in order
                ]  # fmt: skip
                _line(axes, index, places, each)
            axes.set_xticks(places, [str(count) if count else "all" for count in order])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.margins(y=0.12)
            name_axes(axes, f"n, {AXES[side]}", f"{figure_name}, %")
        title(axes_row[0], f"{f'{direction}, ' if direction else ''}{COMPARISONS[side]}")
    for column in zip(*grid, strict=True):  # one scale per figure, so that both kinds can be compared
        low, high = min(axes.get_ylim()[0] for axes in column), max(axes.get_ylim()[1] for axes in column)
        for axes in column:
            axes.set_ylim(max(0, low), min(101, high))
    name_lines(drawn, names)
    return drawn


def _line(axes: Axes, index: int, places: Sequence[float], each: Sequence[np.ndarray]) -> None:
    shade, pattern = series(index)
    mean, spread = np.array([e.mean() for e in each]), np.array([deviation(e) for e in each])
    axes.fill_between(places, mean - spread, mean + spread, color=colour(shade), alpha=0.14, linewidth=0)
    axes.plot(places, mean, color=colour(shade), linewidth=1.8, dashes=pattern or (None, None), marker="o", ms=3.4)


def draw_cameras(table: Mapping[str, Any]) -> Figure:
    """Draw the camera accuracy of a cameras.json: one row per name, one dot per run and split, a bar for their mean."""
    rows = table["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    modalities = list(dict.fromkeys(row["modality"] for row in rows))
    drawn, (axes_row,) = panels(1, len(modalities), 4.9, 0.34 * len(names) + 0.95)
    for axes, modality in zip(axes_row, modalities, strict=True):
        priors = []
        for index, name in enumerate(names):
            own = [one for row in rows if (row["name"], row["modality"]) == (name, modality) for one in row["readings"]]
            values = 100 * np.array([one["accuracy"] for one in own])
            priors += [100 * one["prior"] for one in own]
            shade = colour(series(index)[0])
            axes.plot(values, np.full(len(values), -index), "o", color=shade, ms=4, mew=0, alpha=0.55, clip_on=False)
            axes.plot([values.mean()] * 2, [-index - 0.26, -index + 0.26], color=shade, lw=2.4)
            axes.text(1.01, -index, f"{values.mean():.1f}", transform=axes.get_yaxis_transform(), va="center",
                      fontsize=8.5, color=colour("ink"))  # fmt: skip
        axes.axvline(float(np.mean(priors)), color=colour("muted"), lw=1.2, dashes=(1, 2))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=colour("rule"), linewidth=0.6)
        axes.set_yticks([-index for index in range(len(names))], names)
        axes.set_ylim(-len(names) + 0.4, 0.6)
        axes.set_xlim(0, 100)
        if len(modalities) > 1:
            title(axes, modality)
        name_axes(axes, _READ, "")
    return drawn


def draw_distances(table: Mapping[str, Any]) -> Figure:
    """Draw the distance densities of each kind of pair in a distances.json: one panel per name, averaged over its runs."""
    rows = table["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    columns = min(3, len(names))
    drawn, grid = panels(-(-len(names) // columns), columns, 3.1, 2.5)
    every = [axes for row in grid for axes in row]
    first = [row[0] for row in grid]
    width = _bin_width(rows)
    highest, farthest = 0.0, 0.0
    for axes, name in zip(every, names, strict=False):
        own = [row for row in rows if row["name"] == name]
        for index, kind in reversed(list(enumerate(KINDS))):
            counts = [np.array(row["kinds"][kind]["histogram"]).reshape(-1, width).sum(1) for row in own]
            shares = np.mean([count / max(1, count.sum()) for count in counts], axis=0)
            if not shares.any():
                continue
            edges = np.linspace(0, 2, BINS // width + 1)
            shade, pattern = series(index)
            axes.stairs(shares * 100, edges, fill=True, color=colour(shade), alpha=0.16)
            axes.stairs(shares * 100, edges, color=colour(shade), lw=1.6, linestyle=(0, pattern) if pattern else "-")
            highest = max(highest, float(shares.max()) * 100)
            farthest = max(farthest, float(edges[1:][shares > 0.0005].max()))
        title(axes, f"{name}: AUC {np.mean([row['auc'] for row in own]):.3f}")
        name_axes(axes, f"{table['metric']} distance", "share of its kind, %" if axes in first else "")
    for axes in every:
        axes.set_xlim(0, farthest)
        axes.set_ylim(0, 1.06 * highest)
    for axes in every[len(names) :]:
        axes.set_visible(False)
    place = table["place"]
    name_lines(
        drawn,
        [f"same identity, same {place}", f"same identity, across {plural(place)}", different(place)],
    )
    return drawn


def _bin_width(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of stored bins per drawn bin, so that about 50 span all distances."""
    filled = np.sum([row["kinds"][kind]["histogram"] for row in rows for kind in KINDS], axis=0).nonzero()[0]
    wanted = (filled[-1] + 1) / 50
    return max([width for width in (1, 2, 4, 5, 8, 10) if width <= wanted], default=1)


def draw_attention(table: Mapping[str, Any], images: Mapping[str, np.ndarray]) -> Figure:
    """Draw the heat maps of an attention.json over images: one row per image, then one column per run and encoder.

    Each map is scaled by its own maximum; `(none)` marks one that is nowhere above 0. `images` are `(H, W, 3)` uint8 by
    path.
    """
    rows = table["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    paths = list(dict.fromkeys(row["image"] for row in rows))
    found = {(row["name"], row["image"]): row for row in rows}
    columns = [
        (name, place) for name in names for place in range(max(len(r["maps"]) for r in rows if r["name"] == name))
    ]
    height, width = rows[0]["size"]
    shown = (_SHOWN, max(1, round(_SHOWN * width / height)))
    across = 1.5 if width > 0.7 * height else 1.05
    drawn, grid = panels(len(paths), 1 + len(columns), across, across * height / width + 0.16)
    drawn.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)  # type: ignore[union-attr, call-arg]
    for axes_row, path in zip(grid, paths, strict=True):
        picture = resized(images[path], *shown)
        first = found[names[0], path]
        _picture(axes_row[0], picture, f"camera {first['camera']}")
        for axes, (name, place) in zip(axes_row[1:], columns, strict=True):
            row = found[name, path]
            if place < len(row["maps"]):
                heat = row["maps"][place]["heat"]
                text = f"{''.join(f'{word}, ' for word in _words(row['maps'], place))}{row['similarity']:.2f}"
                _picture(axes, overlaid(picture, np.array(heat)), text if np.any(heat) else f"{text} (none)")
            else:
                axes.set_visible(False)
    for axes, text in zip(grid[0], ["image", *(name for name, _ in columns)], strict=True):
        title(axes, text)
    scale = drawn.colorbar(
        matplotlib.cm.ScalarMappable(cmap=HEAT), ax=[axes for row in grid for axes in row], location="bottom",
        shrink=0.9, aspect=30, pad=0.012,
    )  # fmt: skip
    scale.set_ticks([0, 1], labels=["0", "max"])
    scale.ax.tick_params(labelsize=7, colors=colour("muted"), length=0)
    scale.outline.set_visible(False)  # type: ignore[operator]
    kinds = dict.fromkeys(_kind(one) for row in rows for one in row["maps"])
    label = " and ".join(_KINDS[kind] for kind in kinds)
    scale.set_label(f"{label} (below each map: the similarity)" if "rollout" in kinds else
                    f"{label} (below each map)", fontsize=7, color=colour("muted"))  # fmt: skip
    return drawn


def _kind(one: Mapping[str, Any]) -> str:
    return str(one.get("kind", "grad-cam"))  # older files have only that kind


def _words(maps: Sequence[Mapping[str, Any]], place: int) -> list[str]:
    """Return what distinguishes a map in a row from the others: encoder and kind, if there are several."""
    encoders, kinds = {one["encoder"] for one in maps}, {_kind(one) for one in maps}
    words = [encoder_title(maps[place]["encoder"])] if len(encoders) > 1 else []
    return words + ([_kind(maps[place])] if len(kinds) > 1 else [])


def overlaid(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return a map `(h, w)` over a picture `(H, W, 3)` uint8, bilinear, 0 to its maximum: `(H, W, 3)` float in [0, 1]."""
    field = torch.tensor(heat / max(float(heat.max()), 1e-12), dtype=torch.float32)[None, None]
    smooth = torch.nn.functional.interpolate(field, size=picture.shape[:2], mode="bilinear", align_corners=False)
    shades = matplotlib.colormaps[HEAT](smooth[0, 0].clamp(0, 1).numpy())[..., :3]
    grey = (picture / 255.0).mean(axis=2, keepdims=True)
    blended: np.ndarray = np.clip(0.55 * grey + 0.5 * shades, 0, 1)
    return blended


def _picture(axes: Axes, picture: np.ndarray, text: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel(text, fontsize=7.5, color=colour("muted"), labelpad=2)
