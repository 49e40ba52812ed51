"""How `crossreid gallery search` shows matches: unwrapped lists to people, columns to programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from crossreid.terminal import console, errors, printable, say

if TYPE_CHECKING:
    from crossreid.galleries.asking import Asking
    from crossreid.galleries.entries import Entry, Matches
    from crossreid.galleries.gallery import Gallery
    from crossreid.galleries.judging import Judgement, Threshold

COLUMNS = ("query", "score", "id", "identity", "camera", "modality", "source", "note")
_OWN = "the query"
_CAMERAS = 10  # listed when a filter found nothing


def show(
    asking: Asking,
    found: Sequence[Matches],
    judged: Sequence[Judgement] | None = None,
    threshold: Threshold | None = None,
) -> None:
    """Print a list below each query, or tab-separated columns when another program reads. Nothing is cut or wrapped.

    With judgements there are two more columns: the probability and, with a threshold, whether the query is known.
    """
    if not console.is_terminal:
        typer.echo("\t".join((*COLUMNS, *(("probability", "known") if judged is not None else ()))))
    for query, (name, matches) in enumerate(zip(asking.names, found, strict=True)):
        own = [asking.is_own(query, entry) for entry in matches.entries]
        rows = [
            (
                f"{score:.4f}",
                entry.id,
                entry.identity or "",
                str(entry.camera),
                entry.modality.name.lower(),
                entry.source,
            )
            for score, entry in zip(matches.scores, matches.entries, strict=True)
        ]
        judgement = None if judged is None else judged[query]
        chances = None if judgement is None else [_chance(value) for value in judgement.probabilities]
        if console.is_terminal:
            _list(name, rows, own, chances)
            if judgement is not None and judgement.known is False and threshold is not None:
                say(f"  unknown: none of these reaches {threshold.in_words}")
            continue
        known = "" if judgement is None or judgement.known is None else "known" if judgement.known else "unknown"
        for place, (row, itself) in enumerate(zip(rows, own, strict=True)):
            more = () if chances is None else (chances[place], known)
            typer.echo("\t".join(map(printable, (name, *row, _OWN if itself else "", *more))))


def _chance(probability: float) -> str:
    return "" if math.isnan(probability) else f"{probability:.4f}"


def _list(
    name: str, rows: Sequence[tuple[str, ...]], own: Sequence[bool], chances: Sequence[str] | None = None
) -> None:
    """Print the matches of a query, longest texts last: the terminal breaks lines, so that they are copied whole."""
    say(name)
    lines: list[tuple[str, ...]] = [
        (
            score,
            f"identity {identity}" if identity else "identity unknown",
            f"camera {int(camera) or 'unknown'}",
            modality,
        )
        for score, _, identity, camera, modality, _ in rows
    ]
    if chances is not None:
        lines = [
            (score, f"probability {chance or 'unknown'}", *rest)
            for (score, *rest), chance in zip(lines, chances, strict=True)
        ]
    widths = [max(len(printable(text)) for text in column) for column in zip(*lines, strict=True)]
    for line, (_, id, _, _, _, source), itself in zip(lines, rows, own, strict=True):
        texts = [printable(text).ljust(width) for text, width in zip(line, widths, strict=True)]
        where = id if source in ("", id) else f"{id}  {source}"
        say(f"  {'  '.join(texts)}  {where}{f'  <- {_OWN}' if itself else ''}")


def say_warnings(judged: Sequence[Judgement]) -> None:
    """Print each warning of the judgements once, on standard error."""
    for text in dict.fromkeys(each.warning for each in judged):
        if text is not None:
            errors.print(printable(f"WARNING: {text}"), soft_wrap=True, highlight=False)


def say_nothing_found(gallery: Gallery, asking: Asking, found: Sequence[Matches], filters: Mapping[str, Any]) -> None:
    """Print one line on standard error if queries found nothing, and why: an empty gallery, or conditions no entry meets."""
    without = [name for name, matches in zip(asking.names, found, strict=True) if not matches.ids]
    if not without:
        return
    conditions = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in _given(filters))
    if not len(gallery):
        why = "the gallery is empty"
    elif conditions:
        why = f"no entry meets {conditions}"
        cameras = gallery.stats().cameras if filters.get("camera") else None
        if cameras is not None:
            told = [f"{camera or '0 (unknown)'}: {count}" for camera, count in sorted(cameras.items())]
            more = f", and {len(told) - _CAMERAS} more" if len(told) > _CAMERAS else ""
            why += f"; entries of its cameras: {', '.join(told[:_CAMERAS])}{more}"
    else:
        why = "the index found no entry; try --exact"
    one = without[0] if len(without) == 1 else f"{len(without)} of {len(found)} queries"
    errors.print(printable(f"nothing found for {one}: {why}."), soft_wrap=True)


def _given(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the conditions one by one, one for each of several cameras."""
    pairs = []
    for name, value in filters.items():
        pairs += [(name, one) for one in (value if isinstance(value, list) else [value]) if one is not None]
    return pairs


def as_json(
    asking: Asking, found: Sequence[Matches], judged: Sequence[Judgement] | None = None
) -> list[dict[str, Any]]:
    """Return what `--json` writes: the matches of each query; `is_query` marks the query itself.

    With judgements also `probability` of each match, null if no curve covers it, and `known` of each query, null without a
    threshold.
    """

    def told(query: int, place: int, match: dict[str, Any], entry: Entry) -> dict[str, Any]:
        said = match | {"is_query": asking.is_own(query, entry)}
        if judged is not None:
            value = float(judged[query].probabilities[place])
            said["probability"] = None if math.isnan(value) else value
        return said

    return [
        {
            "query": name,
            **({"known": judged[query].known} if judged is not None else {}),
            "matches": [
                told(query, place, match, entry)
                for place, (match, entry) in enumerate(zip(matches.as_dicts(), matches.entries, strict=True))
            ],
        }
        for query, (name, matches) in enumerate(zip(asking.names, found, strict=True))
    ]
