"""A manifest: a CSV file that says what one's own images are of.

Columns `path,identity`, and where known `camera,modality,tracklet,split,time,box` (`manifest_rows` reads the lines). Paths are
relative to the file. Only the first two are needed: identities may be any text, cameras may be unknown, and identities are
divided here where no split is given. Images that are only to be embedded need no identity either.
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

LEFT_OUT = {"same identity and camera": "cross-modal", "same camera": "cross-camera"}
# What data sets call images of nobody in particular; as identities of a manifest they would be one person.
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
    """Columns that look misspelled: what they say would be silently left aside."""
    return [line for _, line, misspelled in unknown_columns(columns_of(manifest_file(root))) if misspelled]


def manifest_file(root: Path) -> Path:
    """The CSV file that a root means: itself, or the folder's `manifest.csv`."""
    return root / "manifest.csv" if root.is_dir() else root


@register_dataset(
    "manifest",
    title="manifest",
    protocol="cross-modal",  # or single-modality, where the test has one, or cross-camera, by the option `leave_out`
    licence="your own images, under your own terms",
    page="docs/datasets.md#manifest",
    list_problems=list_problems,
)
def parse(
    root: Path,
    *,
    pseudo_infrared: Literal["none", "query"] = "none",
    fractions: Sequence[float] = (0.6, 0.1, 0.3),
    seed: int = 0,
    leave_out: Literal["same identity and camera", "same camera"] = "same identity and camera",
    junk: Sequence[str | int] = (),
    distractors: Sequence[str | int] = (),
    outside: Outside = "absolute",
) -> Split:
    """Read a manifest; `root` is the CSV file or the folder that holds `manifest.csv`.

    Without a `split` column whole identities are divided by `fractions` (train, validation, test), drawn with `seed`; both
    tests of an identity need two images, so identities with one image go to training. Rows of `test` become query where they
    are infrared and gallery where they are visible; where all are of one modality, each asks all others. Rows of `junk`
    are nobody's and left out; those of `distractor` are in the gallery alone.

    Args:
        pseudo_infrared: `query` makes a cross-modal set of a visible one. Each training image is there as it is and as
            pseudo-infrared; in validation and test, half of the cameras of an identity (half of its images, where
            cameras are unknown or only one) become pseudo-infrared queries, the rest stays the visible gallery: no
            photograph is on both sides.

        leave_out: what a query does not look at: its identity's images from its camera, or all from its camera, for
            cameras that stand for sightings.
        junk: identities whose rows are junk whatever their split says, -1 in many data sets.
        distractors: identities whose rows are distractors, 0 in many data sets.
        outside: which paths may lead out of the manifest's folder, as `read_rows` takes it.

    Raises:
        DataError: what is wrong, with the line's number: a missing column, an unknown value, a picture listed twice, an
            identity in training and in test, nothing to train on or nothing to search.
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
    fractions: Sequence[float] = (0.6, 0.1, 0.3),
    seed: int = 0,
    leave_out: str = "same identity and camera",
    junk: Sequence[str | int] = (),
    distractors: Sequence[str | int] = (),
) -> Split:
    """The rows of the manifest at `path`, divided; arguments and errors as of `parse`."""
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
        query = gallery = parts["test"]  # one modality: each image asks all others
    refuse_unusable(
        {"train": parts["train"], "validation": parts["validation"], "query": query, "gallery": gallery}, rows, path
    )
    of_nobody, unfit = _fit_distractors(parts[DISTRACTOR], query, gallery)
    gallery = gallery + of_nobody
    if of_nobody:
        notes.append(f"{len(of_nobody):,} distractors are in the gallery alone")
    if unfit:
        notes.append(
            f"{unfit:,} distractors are left out: they are of the modality of the queries, which ask the other one"
        )
    kinds = Counter(record.modality for record in (*query, *gallery))
    both = len(kinds) > 1
    if both and 20 * min(kinds.values()) <= sum(kinds.values()):
        few = min(kinds, key=lambda kind: kinds[kind])
        notes.append(
            f"of the {sum(kinds.values()):,} images of the test {kinds[few]:,} {'is' if kinds[few] == 1 else 'are'} "
            f"{few.name.lower()}, so it is scored across modalities, by few queries or few entries. If "
            f"{'it is' if kinds[few] == 1 else 'they are'} not, write the other modality in the column modality."
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
    """Records by part, as their rows say or divided, without junk; and what is to be said of them.

    Raises:
        DataError: rows without a split among others with one, or an identity that is a distractor in some rows only.
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
            f"{path}: identity {min(both)!r} is a distractor in some rows and not in others ({len(both)} such). A distractor is "
            "nobody that is asked for."
        )
    if any(role for _, role in named):
        without = [record.path for record, role in named if not role]
        if without:
            raise DataError(f"{path}: {without[0]} has no split, others have. Expected one of {', '.join(SPLITS)}.")
        for record, role in named:
            parts[role].append(record)
    else:
        parts |= divide([record for record, _ in named], fractions, seed)
    notes = []
    if parts[JUNK]:
        notes.append(f"{len(parts.pop(JUNK)):,} junk images are left out of training, queries and gallery")
    counts = Counter(record.identity for record, _ in named)
    notes += [
        f"identity {identity!r} has {counts[identity]:,} images and is taken for one individual. If it stands for nobody, "
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
    """The distractors that the gallery is of the kind of, and how many are not."""
    asking, answering = ({record.modality for record in records} for records in (query, gallery))
    fit = [record for record in distractors if record.modality in answering or record.modality not in asking]
    return fit, len(distractors) - len(fit)


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


def refuse_unusable(parts: dict[str, list[Record]], rows: Sequence[tuple[Record, str]], path: Path) -> None:
    """Raise `DataError` where train, validation and test overlap in identities, or a part that is needed is empty."""
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
        ("train", "Give rows of split train."),
        ("query", "Give rows of split test or query."),
        ("gallery", "Give rows of split test or gallery."),
    ):
        if not parts[name]:
            raise DataError(f"{path}: nothing in {name}. {_why_empty(rows) or hint}")


def _why_empty(rows: Sequence[tuple[Record, str]]) -> str:
    """What of the images themselves leaves a part empty, where no split was given."""
    if any(role not in ("", JUNK, DISTRACTOR) for _, role in rows):
        return ""
    counts = Counter(record.identity for record, role in rows if not role)
    if len(counts) < 2:
        return (
            f"All {counts.total():,} images are of {len(counts)} identity; training and test need different ones, two at least, "
            "and more to learn from. Is `identity` the column that names who is seen?"
        )
    if max(counts.values()) < 2:
        return (
            f"Each of the {len(counts):,} identities has one image; a test needs two or more of an identity, one that asks and "
            "one that answers. Is `identity` the column that names who is seen, and not the picture?"
        )
    several = sum(count > 1 for count in counts.values())
    return (
        f"Of {len(counts):,} identities {several:,} have two images or more; `fractions` of them leaves none for this part. Add "
        "identities, give a `split` column, or change the option fractions."
    )
