"""Guess cameras, modality and time from folders, names, EXIF and colour, and state how many images a guess covers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from crossreid.data.drafts.found import Found, as_numbers, modality_word, numbered
from crossreid.data.looks import Look
from crossreid.data.records import Modality, Record

GREY = 1.5  # chroma in grey levels below which an image has no colour: night pictures are below 1, dull coats above 2
_ENOUGH = 0.9  # share of images that a guess must cover to be used

_CAMERAS = (
    re.compile(r"(?:^|[^a-z])cam(?:era)?[ _-]?(\d+)", re.IGNORECASE),
    re.compile(r"(?:^|[_\-. ])c(\d+)(?=s\d|t\d|f\d|[_\-. ]|$)", re.IGNORECASE),
    re.compile(r"^\d+c(\d+)t\d+f\d+", re.IGNORECASE),
    re.compile(r"(?:^|[_\-. ])(?:trap|ct|station|site|view)[ _-]?(\d+)", re.IGNORECASE),
)
_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.:]?(0[1-9]|1[0-2])[-_.:]?(0[1-9]|[12]\d|3[01])[-_ T.]{0,2}([01]\d|2[0-3])[-_.:h]?([0-5]\d)[-_.:m]?"
    r"([0-5]\d)(?!\d)"
)


def guess(found: Found, looks: Sequence[Look], folder: Path, modality: str = "auto") -> list[str]:
    """Fill in missing values in the rows of `found`; return a line on each guess, made or not.

    Args:
        looks: one per row.
        folder: the folder relative to which paths are interpreted.
        modality: `auto`, or `visible` or `infrared` for all images.
    """
    said = [] if "time" in found.known else [_times(found, looks)]
    if modality != "auto":
        kind = Modality.INFRARED if modality == "infrared" else Modality.VISIBLE
        found.rows = [(replace(record, modality=kind), split) for record, split in found.rows]
        said.append(f"modality: all {modality}, as requested")
    elif "modality" not in found.known:
        said.append(_modalities(found, looks, folder))
    if "camera" not in found.known:
        said.append(_cameras(found, looks, folder))
    return said


def seconds_in(text: str) -> float | None:
    """Return the date and time in a text, such as IMG_20261121_083000, as seconds since 1970 UTC, or None."""
    if (match := _TIME.search(text)) is None:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _times(found: Found, looks: Sequence[Look]) -> str:
    exif = names = 0
    rows = []
    for (record, split), look in zip(found.rows, looks, strict=True):
        time = look.time if look.time is not None else seconds_in(record.path.name)
        exif += look.time is not None
        names += look.time is None and time is not None
        rows.append((replace(record, time=time), split))
    found.rows = rows
    sources = [f"{count:,} from {where}" for count, where in ((exif, "EXIF"), (names, "names")) if count]
    return (
        f"time: {' and '.join(sources)}, for {len(rows):,} images"
        if sources
        else "time: unknown (not in EXIF or names)"
    )


def _modalities(found: Found, looks: Sequence[Look], folder: Path) -> str:
    words = [
        next((w for part in _inner(record, folder) if (w := modality_word(part)) is not None), None)
        for record, _ in found.rows
    ]
    if all(word is not None for word in words):
        kinds, how = [word for word in words if word is not None], "from folder names"
    else:
        grey = [look.chroma < GREY for look in looks]
        kinds = [Modality.INFRARED if is_grey else Modality.VISIBLE for is_grey in grey]
        how = "images without colour are taken as infrared; --modality visible takes all as visible"
    found.rows = [
        (replace(record, modality=kind), split) for (record, split), kind in zip(found.rows, kinds, strict=True)
    ]
    infrared = sum(kind == Modality.INFRARED for kind in kinds)
    return f"modality: {len(kinds) - infrared:,} visible, {infrared:,} infrared ({how})"


def _cameras(found: Found, looks: Sequence[Look], folder: Path) -> str:
    total, refused = len(found.rows), []
    for how, names in _camera_names(found, looks, folder):
        known = sum(name is not None for name in names)
        if known < _ENOUGH * total or len(set(names) - {None}) < 2:
            continue
        if (alone := _seen_by_one(found, names)) is not None:
            refused.append(f"not by {how}: that gives {alone}")
            continue
        numbers = numbered(name for name in names if name is not None)
        found.rows = [
            (replace(record, camera=0 if name is None else numbers[name]), split)
            for (record, split), name in zip(found.rows, names, strict=True)
        ]
        text = as_numbers(numbers)
        return f"camera: {len(numbers)} by {how}, for {known:,} of {total:,} images{f': {text}' if text else ''}"
    return f"camera: unknown ({'; '.join(refused) or 'not in names or EXIF'})"


def _camera_names(found: Found, looks: Sequence[Look], folder: Path) -> list[tuple[str, list[str | None]]]:
    """Return (how, a name or None per row) for each way to determine cameras, most reliable first."""
    ways: list[tuple[str, list[str | None]]] = []
    inner = [_inner(record, folder) for record, _ in found.rows]
    for pattern in _CAMERAS:
        by_folder = [next((m[1] for part in reversed(parts) if (m := pattern.search(part))), None) for parts in inner]
        by_name = [m[1] if (m := pattern.search(record.file.stem)) else None for record, _ in found.rows]
        ways += [("folder names", _plain(by_folder)), ("image names", _plain(by_name))]
    if (below := _shared_folders(found, inner)) is not None:
        ways.append(("the folders below those of identities", below))
    ways.append(("devices in EXIF", [look.device or None for look in looks]))
    return ways


def _plain(names: list[str | None]) -> list[str | None]:
    return [None if name is None else str(int(name)) for name in names]


def _inner(record: Record, folder: Path) -> tuple[str, ...]:
    """Return the folders that contain an image, below `folder`."""
    return record.file.relative_to(folder).parts[:-1] if record.file.is_relative_to(folder) else ()


def _shared_folders(found: Found, inner: Sequence[tuple[str, ...]]) -> list[str | None] | None:
    """Return the folder directly below each identity's, if all identities have one and most share them:
    cow7/north/1.jpg.
    """
    names: list[str | None] = []
    identities = defaultdict(set)
    for (record, _), parts in zip(found.rows, inner, strict=True):
        if record.identity not in parts[:-1]:
            return None
        name = parts[parts.index(record.identity) + 1]
        if modality_word(name) is not None:
            return None
        names.append(name)
        identities[name].add(record.identity)
    shared = sum(len(owners) > 1 for owners in identities.values())
    return names if 2 * shared > len(identities) else None


def _seen_by_one(found: Found, names: Sequence[str | None]) -> str | None:
    """Return an objection to a guess: most individuals would be seen by one camera, so no query would have a match."""
    counts: dict[str, int] = defaultdict(int)
    cameras: dict[str, set[str | None]] = defaultdict(set)
    for (record, _), name in zip(found.rows, names, strict=True):
        counts[record.identity] += 1
        cameras[record.identity].add(name)
    several = [identity for identity, count in counts.items() if count > 1]
    alone = sum(len(cameras[identity]) == 1 for identity in several)
    if 2 * alone <= len(several):
        return None
    return f"{alone:,} of {len(several):,} identities one camera each, so their queries would have no match"
