"""A manifest: a CSV file that describes your own images.

Columns are `path,identity` and, if known, `camera,modality,tracklet,split,time,box` (`manifest_rows` reads the lines).
Paths are relative to the file. Only the first two are required: identities may be any text, cameras may be unknown, and
identities are split here if no split is given. Images that are only to be embedded need no identity.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from crossreid.data.catalogue import register_dataset
from crossreid.data.readers.manifest_rows import (
    DISTRACTOR,
    JUNK,
    SPLITS,
    Notes,
    Outside,
    columns_of,
    read_rows,
    unknown_columns,
)
from crossreid.data.records import DataError, Modality, Record, Split, in_order, labels_of

# Shares of the identities for training, validation and test, and the seed of the draw, if no split is given.
FRACTIONS, SEED = (0.6, 0.1, 0.3), 0
LEFT_OUT = {"same identity and camera": "cross-modal", "same camera": "cross-camera"}
# Data sets' names for images of nobody in particular; as identities in a manifest they would be one person.
SUSPICIOUS = (
    "-1",
    "0",
    "00",
    "0000",
    "junk",
    "distractor",
    "distractors",
    "unknown",
    "background",
    "none",
    "null",
    "nan",
)


def list_problems(root: Path, official: bool) -> list[str]:
    """Return columns that look misspelled, whose content would otherwise be ignored."""
    return [line for _, line, misspelled in unknown_columns(columns_of(manifest_file(root))) if misspelled]


def manifest_file(root: Path) -> Path:
    """Return the CSV file of a root: itself, or the folder's `manifest.csv`."""
    return root / "manifest.csv" if root.is_dir() else root


@register_dataset(
    "manifest",
    title="manifest",
    protocol="cross-modal",  # or single-modality, if the test has only one, or cross-camera, by the option `leave_out`
    licence="your own images, under your own terms",
    page="docs/datasets.md#manifest",
    list_problems=list_problems,
)
def parse(
    root: Path,
    *,
    pseudo_infrared: Literal["none", "query"] = "none",
    fractions: Sequence[float] = FRACTIONS,
    seed: int = SEED,
    leave_out: Literal["same identity and camera", "same camera"] = "same identity and camera",
    junk: Sequence[str | int] = (),
    distractors: Sequence[str | int] = (),
    outside: Outside = "absolute",
) -> Split:
    """Read a manifest; `root` is the CSV file or the folder that holds `manifest.csv`.

    Without a `split` column, whole identities are split by `fractions` (train, validation, test), drawn with `seed`;
    validation and test need two images of an identity, so identities with one image go to training. Rows of `test`
    become queries if infrared and gallery if visible; if all have one modality, each image queries all others. Rows of
    `junk` are nobody's and left out; those of `distractor` are only in the gallery.

    Args:
        pseudo_infrared: `query` makes a cross-modal set from a visible one. Each training image is used as it is and as
            pseudo-infrared; in validation and test, half of an identity's cameras (half of its images, if cameras are
            unknown or there is one) become pseudo-infrared queries, and the rest stays the visible gallery: no
            photograph is on both sides.

        leave_out: what a query ignores: its identity's images from its camera or, for cameras that mean sightings, all
            images from its camera.
        junk: identities whose rows are junk, whatever their split; -1 in many data sets.
        distractors: identities whose rows are distractors; 0 in many data sets.
        outside: which paths may lead out of the manifest's folder, as in `read_rows`.

    Raises:
        DataError: an error with its line number: a missing column, an unknown value, a picture listed twice, an
            identity in both training and test, nothing to train on or nothing to search.
    """
    path, notes = manifest_file(Path(root)), Notes()
    rows = read_rows(path, outside=outside, notes=notes)
    split = split_of(
        rows, path, pseudo_infrared=pseudo_infrared, fractions=fractions, seed=seed, leave_out=leave_out, junk=junk,
        distractors=distractors,
    )  # fmt: skip
    return replace(split, notes=(*notes.lines(), *split.notes))


def split_of(
    rows: Sequence[tuple[Record, str]],
    path: Path,
    *,
    pseudo_infrared: str = "none",
    fractions: Sequence[float] = FRACTIONS,
    seed: int = SEED,
    leave_out: str = "same identity and camera",
    junk: Sequence[str | int] = (),
    distractors: Sequence[str | int] = (),
) -> Split:
    """Split the rows of the manifest at `path`; arguments and errors as in `parse`."""
    if pseudo_infrared not in ("none", "query"):
        raise DataError(f"manifest: pseudo_infrared is {pseudo_infrared!r}, expected 'none' or 'query'.")
    if leave_out not in LEFT_OUT:
        raise DataError(f"manifest: leave_out is {leave_out!r}, expected one of {', '.join(map(repr, LEFT_OUT))}.")
    parts, notes = parted(
        rows, path, fractions, seed, junk=_names("junk", junk), distractors=_names("distractors", distractors)
    )
    if pseudo_infrared == "query":
        parts = with_pseudo_infrared(parts, path)
    query = parts["query"] + [r for r in parts["test"] if r.modality == Modality.INFRARED]
    gallery = parts["gallery"] + [r for r in parts["test"] if r.modality == Modality.VISIBLE]
    if not (parts["query"] or parts["gallery"]) and not (query and gallery):
        query = gallery = parts["test"]  # one modality: each image queries all others
    refuse_unusable(
        {"train": parts["train"], "validation": parts["validation"], "query": query, "gallery": gallery}, rows, path
    )
    of_nobody, unfit = _fit_distractors(parts[DISTRACTOR], query, gallery)
    gallery = gallery + of_nobody
    if of_nobody:
        notes.append(f"{len(of_nobody):,} distractors are only in the gallery")
    if unfit:
        notes.append(
            f"{unfit:,} distractors are left out: they have the modality of the queries, which search the other one"
        )
    kinds = Counter(record.modality for record in (*query, *gallery))
    both = len(kinds) > 1
    if both and 20 * min(kinds.values()) <= sum(kinds.values()):
        few = min(kinds, key=lambda kind: kinds[kind])
        notes.append(
            f"of the {sum(kinds.values()):,} test images, {kinds[few]:,} {'is' if kinds[few] == 1 else 'are'} "
            f"{few.name.lower()}, so the test is scored across modalities, with few queries or few entries. If "
            f"{'it is' if kinds[few] == 1 else 'they are'} not, write the other modality into the column modality."
        )
    cross_modal = LEFT_OUT[leave_out] != "cross-modal" or both
    return Split(
        name="manifest",
        root=path.parent,
        protocol=LEFT_OUT[leave_out] if cross_modal else "single-modality",
        train=tuple(in_order(parts["train"])),
        validation=tuple(in_order(parts["validation"])),
        query=tuple(in_order(query)),
        gallery=tuple(in_order(gallery)),
        notes=tuple(notes),
    )


def parted(
    rows: Sequence[tuple[Record, str]], path: Path, fractions: Sequence[float], seed: int, *, junk: Sequence[str],
    distractors: Sequence[str],
) -> tuple[dict[str, list[Record]], list[str]]:  # fmt: skip
    """Return records by part, as their rows say or split here, without junk; and notes about them.

    Raises:
        DataError: some rows have a split and others do not, or an identity is a distractor in some rows only.
    """
    parts: dict[str, list[Record]] = defaultdict(list)
    named: list[tuple[Record, str]] = []
    for record, role in rows:
        if role == JUNK or record.identity in junk:
            parts[JUNK].append(record)
        elif role == DISTRACTOR or record.identity in distractors:
            parts[DISTRACTOR].append(record)
        else:
            named.append((record, role))
    both = {record.identity for record in parts[DISTRACTOR]} & {record.identity for record, _ in named}
    if both:
        raise DataError(
            f"{path}: identity {min(both)!r} is a distractor in some rows and not in others ({len(both)} such). A distractor "
            "is never searched for."
        )
    if any(role for _, role in named):
        without = [record.path for record, role in named if not role]
        if without:
            raise DataError(f"{path}: {without[0]} has no split, but others have. Expected one of {', '.join(SPLITS)}.")
        for record, role in named:
            parts[role].append(record)
    else:
        parts |= divide([record for record, _ in named], fractions, seed)
    notes = []
    if parts[JUNK]:
        notes.append(f"{len(parts.pop(JUNK)):,} junk images are left out of training, queries and gallery")
    counts = Counter(record.identity for record, _ in named)
    notes += [
        f"identity {identity!r} has {counts[identity]:,} images and is taken as one individual. If it means nobody, "
        f"give its rows the split junk or distractor, or set the option junk or distractors to [{identity!r}]."
        for identity in sorted(counts)
        if identity.lower() in SUSPICIOUS
    ]
    return parts, notes


def _names(option: str, given: Sequence[str | int] | str | int) -> list[str]:
    values = given if isinstance(given, list | tuple) else [given]
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        raise DataError(f"manifest: {option} is {given!r}, expected names of identities, for example ['-1'].")
    return [str(value) for value in values]


def _fit_distractors(
    distractors: Sequence[Record], query: Sequence[Record], gallery: Sequence[Record]
) -> tuple[list[Record], int]:
    """Return the distractors with the gallery's modality, and how many have another one."""
    asking, answering = ({record.modality for record in records} for records in (query, gallery))
    fit = [record for record in distractors if record.modality in answering or record.modality not in asking]
    return fit, len(distractors) - len(fit)


def divide(records: Sequence[Record], fractions: Sequence[float], seed: int) -> dict[str, list[Record]]:
    """Assign whole identities to train, validation and test by `fractions`."""
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
    """Turn the parts of a visible set into those of a cross-modal one, as described in `parse`."""
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
    """Return each record and whether it is a query: every second camera of an identity, or with one camera, image."""
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


def refuse_unusable(parts: dict[str, list[Record]], rows: Sequence[tuple[Record, str]], path: Path) -> None:
    """Raise `DataError` if train, validation and test share identities, or a required part is empty."""
    names = {
        name: {record.identity for record in records}
        for name, records in (
            ("train", parts["train"]),
            ("validation", parts["validation"]),
            ("test", [*parts["query"], *parts["gallery"]]),
        )
    }
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = sorted(names[one] & names[other])
        if both:
            raise DataError(
                f"{path}: identity {both[0]!r} is in {one} and in {other} ({len(both)} such). Identities must be disjoint."
            )
    for name, hint in (
        ("train", "Give rows with split train."),
        ("query", "Give rows with split test or query."),
        ("gallery", "Give rows with split test or gallery."),
    ):
        if not parts[name]:
            raise DataError(f"{path}: {name} is empty. {_why_empty(rows) or hint}")


def _why_empty(rows: Sequence[tuple[Record, str]]) -> str:
    """Say why the images leave a part empty if no split was given."""
    if any(role not in ("", JUNK, DISTRACTOR) for _, role in rows):
        return ""
    counts = Counter(record.identity for record, role in rows if not role)
    if len(counts) < 2:
        return (
            f"All {counts.total():,} images show {len(counts)} identity; training and test need different ones, at least two, "
            "and more to learn from. Does the column `identity` really hold the identities?"
        )
    if max(counts.values()) < 2:
        return (
            f"Each of the {len(counts):,} identities has one image; a test needs two or more per identity, one in the query and "
            "one in the gallery. Does the column `identity` hold identities, and not image names?"
        )
    several = sum(count > 1 for count in counts.values())
    return (
        f"Of {len(counts):,} identities, {several:,} have two or more images; `fractions` of them leaves none for this part. Add "
        "identities, give a `split` column, or change the option fractions."
    )
