"""A manifest: a CSV file that says what one's own images are of.

Columns `path,identity`, and where known `camera,modality,tracklet,split,time`. Paths are relative to the file. Only the first
two are needed: identities may be any text, cameras may be unknown, and identities are divided here where no split is given.
Images that are only to be embedded need no identity either.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crossreid.data.catalogue import register_dataset
from crossreid.data.records import DataError, Modality, Record, Split, in_order, iso_seconds, labels_of

SPLITS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "query": "query",
    "gallery": "gallery",
}
LEFT_OUT = {"same identity and camera": "cross-modal", "same camera": "cross-camera"}
MOST = 2**63 - 1  # what a camera's number can be: tables and tensors keep it in 64 bits
COLUMNS = ("path", "identity", "camera", "modality", "tracklet", "split", "time")
_MODALITIES = {"visible": Modality.VISIBLE, "rgb": Modality.VISIBLE, "vis": Modality.VISIBLE, "infrared": Modality.INFRARED,
               "ir": Modality.INFRARED, "nir": Modality.INFRARED, "thermal": Modality.INFRARED}  # fmt: skip


@register_dataset(
    "manifest",
    title="manifest",
    protocol="cross-modal",  # or cross-camera, by the option `leave_out`
    licence="your own images, under your own terms",
    page="docs/datasets.md#manifest",
)
def parse(
    root: Path,
    *,
    pseudo_infrared: Literal["none", "query"] = "none",
    fractions: Sequence[float] = (0.6, 0.1, 0.3),
    seed: int = 0,
    leave_out: Literal["same identity and camera", "same camera"] = "same identity and camera",
) -> Split:
    """Read a manifest; `root` is the CSV file or the folder that holds `manifest.csv`.

    Without a `split` column whole identities are divided by `fractions` (train, validation, test), drawn with `seed`; both
    tests of an identity need two images, so identities with one image go to training. Rows of `test` become query where they
    are infrared and gallery where they are visible; where all are of one modality, each asks all others.

    Args:
        pseudo_infrared: `query` makes a cross-modal set of a visible one. Each training image is there as it is and as
            pseudo-infrared; in validation and test, half of the cameras of an identity (half of its images, where
            cameras are unknown or only one) become pseudo-infrared queries, the rest stays the visible gallery: no
            photograph is on both sides.

        leave_out: what a query does not look at: its identity's images from its camera, or all from its camera, for
            cameras that stand for sightings.

    Raises:
        DataError: what is wrong, with the line's number: a missing column, an unknown value, a picture listed twice, an
            identity in training and in test, nothing to train on or nothing to search.
    """
    path = Path(root)
    path = path / "manifest.csv" if path.is_dir() else path
    if pseudo_infrared not in ("none", "query"):
        raise DataError(f"manifest: pseudo_infrared is {pseudo_infrared!r}, expected 'none' or 'query'.")
    if leave_out not in LEFT_OUT:
        raise DataError(f"manifest: leave_out is {leave_out!r}, expected one of {', '.join(map(repr, LEFT_OUT))}.")
    rows = read_rows(path)
    if any(role for _, role in rows):
        without = [record.path for record, role in rows if not role]
        if without:
            raise DataError(f"{path}: {without[0]} has no split, others have. Expected one of {', '.join(SPLITS)}.")
        parts: dict[str, list[Record]] = defaultdict(list)
        for record, role in rows:
            parts[role].append(record)
    else:
        parts = divide([record for record, _ in rows], fractions, seed)
    if pseudo_infrared == "query":
        parts = with_pseudo_infrared(parts, path)
    query = parts["query"] + [r for r in parts["test"] if r.modality == Modality.INFRARED]
    gallery = parts["gallery"] + [r for r in parts["test"] if r.modality == Modality.VISIBLE]
    if not (parts["query"] or parts["gallery"]) and not (query and gallery):
        query = gallery = parts["test"]  # one modality: each image asks all others
    split = Split(
        name="manifest",
        root=path.parent,
        protocol=LEFT_OUT[leave_out],
        train=tuple(in_order(parts["train"])),
        validation=tuple(in_order(parts["validation"])),
        query=tuple(in_order(query)),
        gallery=tuple(in_order(gallery)),
    )
    refuse_unusable(split, path)
    return split


def read_rows(path: Path, *, anonymous: bool = False) -> list[tuple[Record, str]]:
    """The (record, split) of each line; split is '' where not given. Commas, semicolons and tabs separate, a BOM is passed over.

    With `anonymous` identities may be missing; they are '' then. Raises `DataError` as `parse`.
    """
    if not path.is_file():
        raise DataError(
            f"manifest {path} not found. Expected a CSV file with the columns path,identity (docs/datasets.md#manifest)."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[tuple[Record, str]] = []
    seen: dict[tuple[str, str], int] = {}
    real = cache(os.path.realpath)  # of folders, which are few; the same one may be spelled in several ways
    needed = ("path",) if anonymous else ("path", "identity")
    for line, row in _lines(reader, path, needed):
        where = f"{path}, line {line}"
        values = {column: (row.get(column) or "").strip() for column in COLUMNS}
        if not all(values[column] for column in needed):
            raise DataError(f"{where}: {' and '.join(needed)} must not be empty.")
        for column, value in values.items():
            if any(character in value for character in "\n\r\0"):
                raise DataError(
                    f"{where}: {column} holds a line break or a NUL ({value[:40]!r}...). Is a quotation mark not closed?"
                )
        if any(row.get(None, ())):
            raise DataError(
                f"{where}: more values than the first line has columns. Put a value that holds {separator!r} in quotation marks."
            )
        modality, split = values["modality"].lower() or "visible", values["split"].lower()
        if modality not in _MODALITIES:
            raise DataError(f"{where}: modality is {modality!r}, expected visible or infrared.")
        if split and split not in SPLITS:
            raise DataError(f"{where}: split is {split!r}, expected one of {', '.join(SPLITS)}.")
        image = path.parent / values["path"]
        file = real(image.parent), image.name
        if file in seen:
            raise DataError(f"{where}: {values['path']} is listed in line {seen[file]} already.")
        seen[file] = line
        record = Record(
            image, values["identity"], _camera(values["camera"], where), _MODALITIES[modality], values["tracklet"] or None,
            time=_seconds(values["time"], where),
        )  # fmt: skip
        rows.append((record, SPLITS.get(split, "")))
    if not rows:
        raise DataError(f"{path} lists no image.")
    return rows


def _lines(reader: csv.DictReader[str], path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[Any, Any]]]:
    """(number of its last line, values by column) of each row; raises `DataError` for what is no CSV, and for its columns."""
    try:
        columns = [column.strip() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        for column in COLUMNS:
            if column in needed and column not in columns:
                raise DataError(
                    f"{path}, line 1: column {column!r} is missing. Expected path,identity and any of {', '.join(COLUMNS[2:])}."
                )
            if columns.count(column) > 1:
                raise DataError(
                    f"{path}, line 1: column {column!r} is there {columns.count(column)} times, expected once."
                )
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num + 1}: the row that begins there is no CSV ({error}). Is a quotation mark not closed?"
        ) from error


def _camera(text: str, where: str) -> int:
    digits = text.lstrip("0") or "0"
    if (text and not text.isdecimal()) or len(digits) > 19 or int(digits) > MOST:
        raise DataError(
            f"{where}: camera is {text[:40]!r}, expected a whole number up to {MOST}, or nothing where it is unknown."
        )
    return int(digits)


def _seconds(text: str, where: str) -> float | None:
    """Seconds since 1970 UTC of ISO 8601 text, UTC where it names no zone; None of ''."""
    if not text:
        return None
    try:
        seconds = iso_seconds(text)
        datetime.fromtimestamp(seconds, UTC)  # of the calendar's first and last hours, a zone's may lie beyond it
        return seconds
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: time is {text!r}, expected ISO 8601, for example 2026-11-21T08:30:00Z.") from error


def divide(records: Sequence[Record], fractions: Sequence[float], seed: int) -> dict[str, list[Record]]:
    """Whole identities to train, validation and test by `fractions`."""
    if len(fractions) != 3 or any(f < 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(
            f"manifest: fractions are {tuple(fractions)}, expected three (train, validation, test) that sum to 1."
        )
    if not isinstance(seed, int) or seed < 0:
        raise DataError(f"manifest: seed is {seed!r}, expected a whole number, 0 or more.")
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[record.identity] += 1
    testable = [identity for identity in labels_of(records) if counts[identity] > 1]
    order = [testable[i] for i in np.random.default_rng(seed).permutation(len(testable))]
    total = len(counts)
    test = order[: round(fractions[2] * total)]
    validation = order[len(test) : len(test) + round(fractions[1] * total)]
    roles = dict.fromkeys(test, "test") | dict.fromkeys(validation, "validation")
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        parts[roles.get(record.identity, "train")].append(record)
    return parts


def with_pseudo_infrared(parts: dict[str, list[Record]], path: Path) -> dict[str, list[Record]]:
    """The parts of a visible set as those of a cross-modal one, as `parse` says."""
    infrared = [record for records in parts.values() for record in records if record.modality == Modality.INFRARED]
    if infrared:
        raise DataError(
            f"{path}: pseudo_infrared is for visible images, but {infrared[0].path} is infrared. Leave the option out."
        )
    result: dict[str, list[Record]] = defaultdict(list)
    result["train"] = [version for record in parts["train"] for version in (record, as_pseudo_infrared(record))]
    for part in ("validation", "test"):
        for record, asks in asking(parts[part]):
            result[part].append(as_pseudo_infrared(record) if asks else record)
    result["query"] = [as_pseudo_infrared(record) for record in parts["query"]]
    result["gallery"] = list(parts["gallery"])
    return result


def as_pseudo_infrared(record: Record) -> Record:
    return replace(record, modality=Modality.INFRARED, pseudo_infrared=True)


def asking(records: Sequence[Record]) -> list[tuple[Record, bool]]:
    """Each record with whether it asks: every second camera of an identity, or every second image where it has one camera."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in in_order(records):
        groups[record.identity].append(record)
    result = []
    for group in groups.values():
        cameras = list(dict.fromkeys(record.camera for record in group))
        for position, record in enumerate(group):
            turn = cameras.index(record.camera) if len(cameras) > 1 else position
            result.append((record, turn % 2 == 0))
    return result


def refuse_unusable(split: Split, path: Path) -> None:
    """Raise `DataError` where the parts overlap in identities or one that is needed is empty."""
    names = {
        name: {record.identity for record in records}
        for name, records in (
            ("train", split.train),
            ("validation", split.validation),
            ("test", (*split.query, *split.gallery)),
        )
    }
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = sorted(names[one] & names[other])
        if both:
            raise DataError(
                f"{path}: identity {both[0]!r} is in {one} and in {other} ({len(both)} such). Identities must be disjoint."
            )
    for name, records, hint in (
        ("train", split.train, "Give rows of split train."),
        ("query", split.query, "Give rows of split test or query."),
        ("gallery", split.gallery, "Give rows of split test or gallery."),
    ):
        if not records:
            raise DataError(f"{path}: nothing in {name}. {hint}")
