"""Scores as HTML: bars of the first setting, and one table per setting with everything that must be quoted with a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from crossreid.evaluation.published import Published, published_for
from crossreid.evaluation.scores import KEYS, Score
from crossreid.reporting.drawing import series

# Why several trials may have no spread.
SAME = ", identical: no identity and camera has more images than are drawn, so each draw takes all of them"


@dataclass(frozen=True)
class ScoredMethod:
    """A method on the page: its printed name, a short description, and its scores, one per setting."""

    name: str
    note: str
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class ScoredSetting:
    """One setting of one protocol and who was scored in it: (position on the page, method, score) each."""

    protocol: str
    name: str
    rows: tuple[tuple[int, ScoredMethod, Score], ...]

    @property
    def title(self) -> str:
        return f"{self.protocol}, {self.name}"


def scored_settings(entries: Sequence[ScoredMethod]) -> list[ScoredSetting]:
    """Return all settings in the order of their first occurrence."""
    rows: dict[tuple[str, str], list[tuple[int, ScoredMethod, Score]]] = {}
    for place, entry in enumerate(entries):
        for score in entry.scores:
            rows.setdefault((score.protocol, score.setting), []).append((place, entry, score))
    return [ScoredSetting(protocol, name, tuple(found)) for (protocol, name), found in rows.items()]


def bars(setting: ScoredSetting) -> str:
    """Return the rank-1 of each method as a bar from zero, with chance as a line across."""
    chance = float(np.mean([score.chance_rank1 for _, _, score in setting.rows]))
    values = [score.rank(1) for _, _, score in setting.rows]
    finite = [value for value in (*values, chance) if math.isfinite(value)]
    tops = [value + setting.rows[row][2].spread("rank-1") for row, value in enumerate(values) if math.isfinite(value)]
    full = max([*finite, *tops], default=0.0) or 1.0
    items = []
    for (place, entry, score), value in zip(setting.rows, values, strict=True):
        times = f" · {value / chance:.1f} × chance" if chance > 0 and math.isfinite(value) else ""
        width = 100 * value / full if math.isfinite(value) else 0.0
        items.append(
            f'<li><span class="who">{escape(entry.name)}</span><span class="track"><span class="bar" '
            f'style="width: {width:.2f}%; background: var(--{series(place)[0]})"></span>{_whisker(score, full)}</span>'
            f'<span class="what"><b>{_percent(value)}%</b><small>{_spread(score, "rank-1")}{times}</small></span></li>'
        )
    items.append(
        f'<li class="chance"><span class="who">Chance</span><span class="track"><span class="bar" '
        f'style="width: {100 * chance / full:.2f}%"></span></span>'
        f'<span class="what"><b>{_percent(chance)}%</b><small>a random order</small></span></li>'
    )
    return (
        f'<figure class="bars" style="--chance: {chance / full:.4f}"><figcaption>Rank-1, {escape(setting.title)}: share of '
        f"queries whose nearest gallery image shows the same identity.</figcaption><ul>{''.join(items)}</ul></figure>"
    )


def _whisker(score: Score, full: float) -> str:
    """Return the error bar: one standard deviation over the trials to each side."""
    value, spread = score.rank(1), score.spread("rank-1")
    if len(score.trials) < 2 or not math.isfinite(value) or not spread > 1e-9:
        return ""
    low, high = max(0.0, value - spread), value + spread
    return f'<i class="whisker" style="left: {100 * low / full:.2f}%; width: {100 * (high - low) / full:.2f}%"></i>'


def table(setting: ScoredSetting, published: bool) -> str:
    """Return the table of one setting, its conditions below; `published` adds the published figures, with their source."""
    best = {
        key: max((v for _, _, s in setting.rows if math.isfinite(v := s.value(key))), default=math.nan) for key in KEYS
    }
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in (*KEYS, "chance"))
    body = []
    for place, entry, score in setting.rows:
        note = f"<small>{escape(entry.note)}</small>" if entry.note else ""
        cells = []
        for key in KEYS:
            value = score.value(key)
            marked = ' class="best"' if len(setting.rows) > 1 and value == best[key] else ""
            cells.append(f"<td{marked}>{_percent(value)}{_small(_spread(score, key))}</td>")
        cells.append(f"<td>{_percent(score.chance_rank1)}</td>")
        body.append(
            f'<tr><th scope="row"><i class="dot" style="background: var(--{series(place)[0]})"></i>'
            f"{escape(entry.name)}{note}</th>{''.join(cells)}</tr>"
        )
    known = published_for(setting.protocol, setting.name) if published else []
    body += [_published_row(row) for row in known]
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Scores, {escape(setting.title)}"><table class="scores">'
        f"<caption>{escape(setting.name)} <small>{escape(setting.protocol)}, percent</small></caption>"
        f'<thead><tr><th scope="col">method</th>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        f"{_conditions(setting)}"
    )


def _published_row(row: Published) -> str:
    cells = "".join(f"<td>{_percent(row.values.get(key, math.nan))}</td>" for key in (*KEYS, "chance"))
    return (
        f'<tr class="published"><th scope="row">{escape(row.method)} <small>published: {escape(row.source)}</small></th>'
        f"{cells}</tr>"
    )


def _conditions(setting: ScoredSetting) -> str:
    """Return how the scores were obtained; once if all are alike, else per method."""
    facts = [(entry.name, _facts(score)) for _, entry, score in setting.rows]
    shared = [
        [(key, value) for key, value in found if all((key, value) in other for _, other in facts)] for _, found in facts
    ]
    lists = [("", shared[0])]
    lists += [
        (name, own)
        for (name, found), same in zip(facts, shared, strict=True)
        if (own := [f for f in found if f not in same])
    ]
    return "".join(
        f'<dl class="conditions">{f"<div class=of><dt>{escape(name)}</dt></div>" if name else ""}'
        + "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in found)
        + "</dl>"
        for name, found in lists
        if found
    )


def _facts(score: Score) -> list[tuple[str, str]]:
    return [
        ("protocol", score.protocol),
        ("setting", score.setting),
        ("metric", score.metric),
        ("excluded", score.exclusion),
        ("CMC counts", score.counting),
        ("gallery draw", score.gallery_draw),
        ("trials", f"{len(score.trials)}{SAME if score.same_gallery else ''}"),
        ("queries", str(score.valid_queries)),
        ("skipped queries (no match)", str(score.skipped_queries)),
        ("average precision", f"by {score.average_precision}"),
        ("normalised", score.normalised),
        ("re-ranked", score.re_ranked),
        *[("weights", score.checkpoint)] * bool(score.checkpoint),
        *[("training", score.trained)] * bool(score.trained),
    ]


def _spread(score: Score, key: str) -> str:
    spread = score.spread(key)
    return f"± {100 * spread:.2f}" if len(score.trials) > 1 and math.isfinite(spread) else ""


def _small(text: str) -> str:
    return f"<small>{text}</small>" if text else ""


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if math.isfinite(value) else "–"
