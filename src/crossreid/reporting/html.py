"""The report page of an evaluation: one self-contained HTML file without network access or scripts.

Its content security policy forbids every request, so it shows only its own content. All text passed in is
escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from crossreid.data.records import INFRARED
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features
from crossreid.files import write_text
from crossreid.reporting.curves import History, cmc_chart, history_of, history_panel
from crossreid.reporting.drawing import legend, palette_css, series
from crossreid.reporting.embedding_map import map_chart, map_embeddings, rows_to_map
from crossreid.reporting.loss_terms import explained
from crossreid.reporting.ranked_lists import Hit, RankedList, Thumbnail
from crossreid.reporting.score_table import ScoredMethod, ScoredSetting, bars, scored_settings, table

_FEWEST_MAPPED = 8
_CHANCE = ("chance, rank-1 of a random order", "muted", (1, 2))


@dataclass(frozen=True)
class Report:
    """The content of the page; empty parts are left out.

    `summary` is plain text with a blank line between paragraphs. `features`, `ranked` and `history` are by entry name;
    `history` holds the rows of `metrics.jsonl`. `published` puts the published figures of a setting below its scores,
    only if the images are the published test set. `data` is a summary of the training and test data.
    """

    title: str
    summary: str
    entries: tuple[ScoredMethod, ...]
    features: Mapping[str, Features] = field(default_factory=dict)
    ranked: Mapping[str, tuple[RankedList, ...]] = field(default_factory=dict)
    history: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if not names or not any(entry.scores for entry in self.entries):
            raise CrossreidError("a report needs at least one entry with a score; evaluate a run first.")
        if len(set(names)) < len(names):
            raise CrossreidError(f"entries of a report must have different names; found: {', '.join(names)}.")
        for what in ("features", "ranked", "history"):
            if strangers := [name for name in getattr(self, what) if name not in names]:
                raise CrossreidError(f"{what} of '{strangers[0]}': no such entry; the entries are: {', '.join(names)}.")


def write_report(path: Path, report: Report) -> Path:
    """Write the page to `path` atomically, and return the path."""
    write_text(path, page(report))
    return Path(path)


def page(report: Report) -> str:
    """Return the page as text; the same report gives the same text."""
    settings = scored_settings(report.entries)
    sections = [
        ("scores", "Scores", _scores(report, settings)),
        ("data", "Data", _facts(report.data)),
        ("cmc", "CMC curves", _cmc(settings)),
        ("ranked", "Ranked lists", _ranked(report)),
        ("map", "Map of the embeddings", _maps(report)),
        ("training", "Training", _training(report)),
        ("recipe", "Recipe and environment", _recipe(report)),
    ]
    kept = [section for section in sections if section[2]]
    room = files("crossreid.reporting")
    style = Template(room.joinpath("report.css").read_text(encoding="utf-8"))
    return Template(room.joinpath("report.html").read_text(encoding="utf-8")).substitute(
        title=escape(report.title),
        style=style.substitute(light=palette_css(False), dark=palette_css(True)),
        summary="".join(f"<p>{escape(part.strip())}</p>" for part in report.summary.split("\n\n") if part.strip()),
        bars=bars(settings[0]),
        contents="".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in kept),
        sections="".join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>{body}</section>'
            for name, heading, body in kept
        ),
    )


def _scores(report: Report, settings: Sequence[ScoredSetting]) -> str:
    several = any(len(score.trials) > 1 for setting in settings for _, _, score in setting.rows)
    spread = "Mean and standard deviation over the trials, shown by the error bars above. " if several else ""
    note = (
        f'<p class="note">{spread}The best value of each column is in bold; chance is the rank-1 of a random order.</p>'
    )
    return note + "".join(table(setting, report.published) for setting in settings)


def _cmc(settings: Sequence[ScoredSetting]) -> str:
    figures = []
    for number, setting in enumerate(settings):
        scores = [(place, entry.name, score) for place, entry, score in setting.rows]
        drawn = cmc_chart(scores, f"cmc{number}", _file("cmc", setting.title))
        figures.append(f"<figure><figcaption>{escape(setting.title)}</figcaption>{drawn}</figure>")
    places = {entry.name: place for setting in settings for place, entry, _ in setting.rows}
    names = legend([*((name, *series(place)) for name, place in places.items()), _CHANCE])
    beside = " beside" if len(figures) == 1 else ""
    return f'<div class="cmc{beside}">{names}<div class="grid wide">{"".join(figures)}</div></div>'


def _ranked(report: Report) -> str:
    shown = {name: lists for name, lists in report.ranked.items() if lists}
    if not shown:
        return ""
    first = next(iter(shown.values()))
    note = (
        f"Queries are not hand-picked. All {first[0].queries} queries with a match are sorted by the rank of their first "
        f"correct match, then by average precision, and cut into {len(first)} equal parts; the middle one of each is shown, "
        f"easiest first. Gallery: {first[0].gallery}. Numbers are {first[0].metric} distances."
    )
    key = f'<ul class="legend marks"><li>{_mark(True)} right</li><li>{_mark(False)} wrong, dashed frame</li></ul>'
    blocks = []
    for name, lists in shown.items():
        same = lists is not first and [item.row for item in lists] == [item.row for item in first]
        heading = f"<h3>{escape(name)}{' <small>the same queries</small>' if same else ''}</h3>"
        shape = sorted(hit.thumbnail.width / hit.thumbnail.height for item in lists for hit in item.hits)
        ratio = shape[len(shape) // 2] if shape else 1.0
        rows = "".join(_ranked_row(item) for item in lists)
        blocks.append(f'{heading}<div class="lists" style="--shape: {min(max(ratio, 0.4), 2.0):.3f}">{rows}</div>')
    return f'<p class="note">{escape(note)}</p>{key}{"".join(blocks)}'


def _ranked_row(item: RankedList) -> str:
    many = "right answer" if item.matches == 1 else "right answers"
    hits = "".join(_hit(place, hit) for place, hit in enumerate(item.hits, start=1))
    asked = item.query
    shown = _image(asked, f"Query: {_who(asked)}")
    return (
        f'<div class="list"><p><b>First correct match: {item.first_right}</b> of {item.kept} · {item.matches} {many} · '
        f'query {item.place} of {item.queries} by ease</p><figure class="query"><span class="frame">{shown}</span>'
        f"<figcaption>{_label(asked)}<span>query</span></figcaption></figure><ol>{hits}</ol></div>"
    )


def _hit(place: int, hit: Hit) -> str:
    verdict = "right" if hit.right else "wrong"
    spoken = f"Rank {place}, {verdict}: {_who(hit.thumbnail)}, distance {hit.distance:.3f}"
    return (
        f'<li class="{verdict}"><span class="frame">{_image(hit.thumbnail, spoken)}{_mark(hit.right)}</span>'
        f"{_label(hit.thumbnail)}<span>{hit.distance:.3f}</span></li>"
    )


def _image(thumbnail: Thumbnail, spoken: str) -> str:
    data = base64.b64encode(thumbnail.jpeg).decode("ascii")
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(spoken)}" title="{escape(spoken)}" '
        f'width="{thumbnail.width}" height="{thumbnail.height}">'
    )


def _who(thumbnail: Thumbnail) -> str:
    camera = f", camera {thumbnail.camera}" if thumbnail.camera else ""
    return f"identity {thumbnail.identity}, {_light(thumbnail)}{camera}"


def _label(thumbnail: Thumbnail) -> str:
    camera = f" · cam {thumbnail.camera}" if thumbnail.camera else ""
    return f'<span class="light {_light(thumbnail)}">{_light(thumbnail)}<i>{camera}</i></span>'


def _light(thumbnail: Thumbnail) -> str:
    return thumbnail.modality.name.lower()


def _mark(right: bool) -> str:
    name = "tick" if right else "cross"
    return f'<svg class="mark {name}" viewBox="0 0 16 16" aria-hidden="true"><use href="#{name}"/></svg>'


def _maps(report: Report) -> str:
    figures, images, identities = [], 0, 0
    for number, (name, features) in enumerate(report.features.items()):
        chosen = features.take(rows_to_map(features))
        if len(chosen) < _FEWEST_MAPPED:
            continue
        metric = next((s.metric for entry in report.entries if entry.name == name for s in entry.scores), "euclidean")
        mapped = map_embeddings(chosen, metric=metric)
        images, identities = len(chosen), len(mapped.names)
        drawn = map_chart(mapped, name, f"map{number}", _file("map", name))
        figures.append(f"<figure><figcaption>{escape(name)}</figcaption>{drawn}</figure>")
    if not figures:
        return ""
    infrared = any((features.modalities == INFRARED).any() for features in report.features.values())
    note = (
        f"t-SNE of the same {images} images of {identities} identities, drawn with a seed from the test set, as each method "
        "embeds them. One colour per identity"
        + (
            "; a line joins the centres of its visible and its infrared images, and short lines are good."
            if infrared
            else "."
        )
        + " Only neighbourhoods are meaningful: axes, sizes and gaps between clusters are not."
    )
    shapes = (
        '<ul class="legend"><li><svg class="mark" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5" '
        'fill="currentColor"/></svg>visible</li><li><svg class="mark" viewBox="0 0 16 16" aria-hidden="true"><path '
        'd="M8 3 13.5 13h-11z" fill="none" stroke="currentColor" stroke-width="1.6"/></svg>infrared</li></ul>'
        if infrared
        else ""
    )
    return f'<p class="note">{escape(note)}</p>{shapes}<div class="grid maps">{"".join(figures)}</div>'


def _training(report: Report) -> str:
    places = {entry.name: place for place, entry in enumerate(report.entries)}
    losses: dict[str, list[tuple[int, str, History]]] = {}
    checks: dict[str, list[tuple[int, str, History]]] = {}
    runs = []
    for name, rows in report.history.items():
        found = history_of(rows)
        for curves, panels in zip(found, (losses, checks), strict=True):
            for term, curve in curves.items():
                panels.setdefault(term, []).append((places[name], name, curve))
        if any(found):
            runs.append(name)
    if not runs:
        return ""
    parts = [legend([(name, *series(places[name])) for name in runs])]
    for what, panels, fraction in (("Validation", checks, True), ("Losses, term by term", losses, False)):
        figures = "".join(
            f"<figure><figcaption>{escape(term)}</figcaption>"
            f"{history_panel(term, curves, f'{what[:1].lower()}{number}', fraction=fraction, file=_file(what, term))}</figure>"
            for number, (term, curves) in enumerate(_total_first(panels).items())
        )
        if figures:
            meanings = "" if fraction else _terms(panels)
            parts.append(f'<h3>{what}</h3>{meanings}<div class="grid panels">{figures}</div>')
    return "".join(parts)


def _terms(names: Iterable[str]) -> str:
    """Explain the terms that are known here."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in explained(names))
    return f'<dl class="terms">{rows}</dl>' if rows else ""


def _file(*names: str) -> str:
    """Return a name for a figure's file."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items())
    return f'<dl class="conditions">{rows}</dl>' if rows else ""


def _total_first(panels: dict[str, list[tuple[int, str, History]]]) -> dict[str, list[tuple[int, str, History]]]:
    return dict(sorted(panels.items(), key=lambda item: item[0] != "total"))


def _recipe(report: Report) -> str:
    parts = []
    if report.commands:
        lines = "\n".join(escape(command) for command in report.commands)
        parts.append(f'<h3>Commands</h3><pre tabindex="0"><code>{lines}</code></pre>')
    if report.recipe.strip():
        parts.append(
            "<details><summary>The recipe with every value</summary>"
            f'<pre tabindex="0"><code>{escape(report.recipe.strip())}</code></pre></details>'
        )
    if report.environment:
        parts.append(f"<h3>Environment</h3>{_facts(report.environment)}")
    return "".join(parts)
