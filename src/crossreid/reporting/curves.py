"""Curves of a report: CMC by setting, losses by term, validation by figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from crossreid.evaluation.scores import Score
from crossreid.reporting.drawing import colour, figure, name_axes, series, svg

RANKS_SHOWN = 20
_POINTS = 160  # of a loss curve; more cannot be distinguished at the width of a panel
# Bookkeeping of a row, not what is minimised.
_NOT_LOSSES = frozenset({"step", "epoch", "lr", "images_per_second"})


@dataclass(frozen=True)
class History:
    """One quantity over a run: steps and values `(N,)`, steps ascending, values finite."""

    steps: np.ndarray
    values: np.ndarray


def cmc_chart(scores: Sequence[tuple[int, str, Score]], prefix: str, file: str = "") -> str:
    """Return the methods' CMC in one setting as SVG, mean over trials with a band of one standard deviation, and
    chance.

    `scores` holds (index of the method on the page, its name, its score). Chance is the rank-1 of a random order.
    """
    drawn, axes = figure(4.3, 2.8)
    spoken = draw_cmc(axes, scores)
    return svg(drawn, f"CMC curves. {spoken}.", prefix, file)


def draw_cmc(axes: Axes, scores: Sequence[tuple[int, str, Score]]) -> str:
    """Draw CMC curves into `axes`, and return a description."""
    axes.margins(x=0)
    last = min(RANKS_SHOWN, max(len(score.cmc) for _, _, score in scores))
    spoken: list[str] = []
    for place, name, score in reversed(scores):
        curves = np.stack([[trial.rank(k) for k in range(1, last + 1)] for trial in score.trials])
        shade, pattern = series(place)
        ranks = np.arange(1, last + 1)
        mean, spread = curves.mean(axis=0), curves.std(axis=0)
        if len(curves) > 1:
            lower, upper = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
            axes.fill_between(ranks, lower, upper, color=colour(shade), alpha=0.14, linewidth=0)
        axes.plot(ranks, mean, color=colour(shade), linewidth=1.9, dashes=pattern or (None, None))
        spoken.insert(0, f"{name}: {_percent(score.rank(1))} at rank 1, {_percent(score.rank(last))} at rank {last}")
    chance = float(np.mean([score.chance_rank1 for _, _, score in scores]))
    axes.axhline(chance, color=colour("muted"), linewidth=1.2, dashes=(1, 2))
    axes.set_ylim(0, 1.0)
    axes.set_xlim(1, max(2, last))
    axes.xaxis.set_major_locator(FixedLocator([k for k in (1, 5, 10, 15, 20) if k <= last]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    name_axes(axes, "rank k", "queries with a correct match in the first k")
    return f"{'; '.join(spoken)}; chance {_percent(chance)} at rank 1"


def history_of(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, History], dict[str, History]]:
    """Return loss terms and validation figures from the rows of a run's `metrics.jsonl`.

    Losses are what a row has under 'losses' and any other number, such as 'total'; validation figures are what it has
    under 'validation'. Values that are not finite numbers, and rows without a step, are left out; for a repeated step
    the later row counts.
    """
    losses: dict[str, dict[float, float]] = {}
    checks: dict[str, dict[float, float]] = {}
    for row in rows:
        step = row.get("step", math.nan)
        if not _is_number(step):
            continue
        for found, values in ((losses, row.get("losses")), (checks, row.get("validation"))):
            for name, value in values.items() if isinstance(values, Mapping) else ():
                if _is_number(value):
                    found.setdefault(str(name), {})[step] = value
        for name, value in row.items():
            if name not in _NOT_LOSSES and _is_number(value):
                losses.setdefault(str(name), {})[step] = value
    return _curves(losses), _curves(checks)


def history_panel(
    name: str, curves: Sequence[tuple[int, str, History]], prefix: str, *, fraction: bool = False, file: str = ""
) -> str:
    """Return one quantity of several runs over steps, as SVG; `curves` holds (index of the method, its name, the
    curve).

    Long curves are averaged over equal spans of steps. The scale is logarithmic if all values are positive and the
    largest is more than 100 times the smallest; the label says so. `fraction`: print values as percentages.
    """
    drawn, axes = figure(3.3, 2.1)
    return svg(drawn, draw_history(axes, name, curves, fraction=fraction), prefix, file)


def draw_history(axes: Axes, name: str, curves: Sequence[tuple[int, str, History]], *, fraction: bool = False) -> str:
    """Draw one quantity over the steps into `axes`, and return a description."""
    axes.margins(x=0.02)
    shown = [(place, title, _thinned(curve)) for place, title, curve in curves]
    values = np.concatenate([curve.values for _, _, curve in shown])
    logarithmic = not fraction and values.min() > 0 and values.max() > 100 * values.min()
    for place, _, curve in reversed(shown):
        shade, pattern = series(place)
        (line,) = axes.plot(
            curve.steps, curve.values, color=colour(shade), linewidth=1.5, dashes=pattern or (None, None)
        )
        if len(curve.steps) < 12:
            line.set(marker="o", markersize=3)
    _scale(axes, logarithmic, fraction)
    name_axes(axes, "step", "")
    axes.set_ylabel("")
    ends = "; ".join(
        f"{title} from {_plain(curve.values[0], fraction)} to {_plain(curve.values[-1], fraction)}"
        for _, title, curve in shown
    )
    return f"{name} over the steps{', logarithmic scale' if logarithmic else ''}: {ends}."


def _scale(axes: Axes, logarithmic: bool, fraction: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(
            PercentFormatter(1.0, decimals=None) if fraction else FuncFormatter(lambda value, _: f"{value:g}")
        )


def _curves(found: Mapping[str, Mapping[float, float]]) -> dict[str, History]:
    curves = {}
    for name, points in found.items():
        steps = sorted(points)
        curves[name] = History(
            np.array(steps, dtype=np.float64), np.array([points[s] for s in steps], dtype=np.float64)
        )
    return curves


def _thinned(curve: History) -> History:
    """Return at most `_POINTS` points, each the mean of an equal span of rows."""
    if len(curve.steps) <= _POINTS:
        return curve
    starts = np.linspace(0, len(curve.steps), _POINTS, endpoint=False).astype(np.int64)
    counts = np.diff(np.append(starts, len(curve.steps)))
    return History(np.add.reduceat(curve.steps, starts) / counts, np.add.reduceat(curve.values, starts) / counts)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: float, fraction: bool) -> str:
    return _percent(value) if fraction else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
