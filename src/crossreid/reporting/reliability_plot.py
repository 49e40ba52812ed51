"""The figure of a calibration: per pair of modalities the scores with the curve, and how reliable probabilities are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crossreid.evaluation.calibration import Calibration, Curve, Measured
from crossreid.reporting.drawing import colour, name_axes, panels, save, title

_KINDS = {"images": "images", "sets": "tracklets", "set-image": "tracklet with image"}
_SAME, _DIFFERENT, _CURVE = "s1", "s2", "ink"


def plot_calibration(calibration: Calibration, file: Path) -> list[Path]:
    """Write the figure beside a calibration's `file`, under its name, as PNG and SVG.

    Only measured calibrations can be drawn: those stored in a gallery or an exported file have no measures.
    """
    return save(draw_calibration(calibration), file.parent, file.stem)


def draw_calibration(calibration: Calibration) -> Figure:
    """Draw one row per pair of modalities: scores and curve on the left, the reliability diagram on the right.

    Pairs with the same curve, such as both directions of one, share a row.
    """
    rows = [
        (kind, names, one)
        for kind, one in {"images": calibration, **calibration.others}.items()
        for names in _alike(one)
    ]
    drawn, axes = panels(len(rows), 2, 4.2, 2.6)
    for (kind, names, one), (left, right) in zip(rows, axes, strict=True):
        name = names[0]
        measured = one.measured[name]
        heading = f"{' and '.join(names)}{'' if kind == 'images' else f', {_KINDS[kind]}'}"
        _scores(left, one.curves[name], measured, one.thresholds[name], heading)
        _reliability(right, measured)
    handles = [
        Patch(facecolor=colour(_SAME), alpha=0.45, label="pairs of one identity"),
        Patch(facecolor=colour(_DIFFERENT), alpha=0.45, label="of two"),
        Line2D([], [], color=colour(_CURVE), linewidth=1.8, label="probability"),
        Line2D([], [], color=colour("muted"), linewidth=1, dashes=(2, 2), label="thresholds of false-accept rates"),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return drawn


def _alike(calibration: Calibration) -> list[list[str]]:
    """Return the measured pairs of modalities, grouped by curve."""
    groups: list[list[str]] = []
    for name in calibration.measured:
        curve = calibration.curves[name]
        for group in groups:
            other = calibration.curves[group[0]]
            if np.array_equal(curve.scores, other.scores) and np.array_equal(curve.probabilities, other.probabilities):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _scores(axes: Axes, curve: Curve, measured: Measured, thresholds: Mapping[float, float], heading: str) -> None:
    """Draw histograms of the scores, each scaled to its maximum, the curve over them, and the thresholds."""
    title(axes, heading)
    low, high = float(measured.edges[0]), float(measured.edges[-1])
    for density, shade in ((measured.different_density, _DIFFERENT), (measured.same_density, _SAME)):
        axes.stairs(density / max(density.max(), 1e-12), measured.edges, fill=True, color=colour(shade), alpha=0.45)
    across = np.linspace(low, high, 400)
    axes.plot(across, curve(across), color=colour(_CURVE), linewidth=1.8)
    for rate, threshold in thresholds.items():
        axes.axvline(threshold, color=colour("muted"), linewidth=1, dashes=(2, 2))
        axes.annotate(
            f"{rate:g}", (threshold, 1.22), xytext=(-1, 0), textcoords="offset points", rotation=90, fontsize=7,
            color=colour("muted"), ha="right", va="top",
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.22)  # room for the rates above
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    name_axes(axes, "cosine similarity", "probability")


def _reliability(axes: Axes, measured: Measured) -> None:
    """Draw the share of pairs of one identity against the prediction, in bins, with the diagonal."""
    pooled = "; curve of all pairs together" if measured.pooled else ""
    title(axes, f"calibration error {measured.ece:.4f}, Brier {measured.brier:.4f}{pooled}")
    axes.plot([0, 1], [0, 1], color=colour("rule"), linewidth=1.2)
    axes.plot(
        measured.predicted, measured.observed, color=colour(_SAME), linewidth=1.2, marker="o", markersize=4, clip_on=False
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    name_axes(axes, "predicted probability", "share of one identity")
