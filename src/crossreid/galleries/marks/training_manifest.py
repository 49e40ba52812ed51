"""From marks to a training manifest: each group of images joined by right marks is an identity.

A group has its entries' identity, or gets a new name. The images of a given manifest are included, each in its split;
marked images are added to the training split.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from crossreid.data.readers.manifest import FRACTIONS, SEED, manifest_file, parted
from crossreid.data.readers.manifest_rows import COLUMNS, read_rows, row_of
from crossreid.data.records import DataError, Record
from crossreid.files import replacing
from crossreid.galleries.marks.exported import Mark
from crossreid.galleries.marks.image_files import ImageFiles
from crossreid.galleries.marks.joining import (
    Links,
    agreed,
    components,
    name_groups,
    refuse_two_identities,
    refuse_wrong,
)


@dataclass(frozen=True, slots=True)
class Joined:
    """Counts of a written manifest: `named` identities got a new name, `missing` images were left out, `beside` images
    are from the given manifest."""

    images: int
    identities: int
    named: int
    right: int
    wrong: int
    missing: tuple[str, ...] = ()
    beside: int = 0


def write_manifest(
    marks: Sequence[Mark], out: Path, *, images: Sequence[Path], queries: Path | None = None, skip_missing: bool = False,
    beside: Path | None = None,
) -> Joined:  # fmt: skip
    """Write the manifest of the images joined by right marks; paths within its folder are relative, others absolute.

    Args:
        images: folders with the entries' images, found by their sources.
        queries: folder with the query files at any depth, found by name and content, or by content under another name.
        skip_missing: leave out images that are not found, and list them; what they join is still joined.
        beside: a manifest to include, each image in its part as in training; the marked images are then added to the
            training part.

    Raises:
        DataError: an image that is not found; marks that contradict one another, or the identities of entries; marks of
            an identity that `beside` validates or tests on; no right mark; an existing file. Nothing is written then.
    """
    if out.exists():
        raise DataError(f"{out} already exists. Remove it, or choose another --out.")
    if not any(mark.right for mark in marks):
        raise DataError("no match is marked as right, so there is nothing to train on.")
    files = ImageFiles(images, queries)
    records: dict[Path, Record] = {}
    links: Links = defaultdict(list)
    for mark in marks:
        if mark.right:
            query, match = files.of(mark)
            for path, record in ((query, mark.asking), (match, mark.entry)):
                records[path] = agreed(records.get(path), replace(record, path=path), mark.line)
            links[query].append((match, f"line {mark.line}"))
            links[match].append((query, f"line {mark.line}"))
    others = {} if beside is None else _parts_of(beside)
    for path in (path for path in records if path in others):
        told, known = records[path].identity, others[path][0].identity
        if told and told != known:
            raise DataError(f"{path} is {told!r} in the gallery and {known!r} in {beside}. Mend one.")
        records[path] = replace(records[path], identity=known)
    if not skip_missing:
        files.refuse_missing()
    first: dict[str, Path] = {}
    for path, record in records.items():
        if record.identity and (same := first.setdefault(record.identity, path)) != path:
            why = f"identity {record.identity!r} of both"
            links[same].append((path, why))
            links[path].append((same, why))
    groups = components(list(records), links)
    refuse_two_identities(groups, records, links)
    refuse_wrong(marks, files, groups, records, links)
    groups = [there for group in groups if (there := [path for path in group if path not in files.missing])]
    if not groups:
        files.refuse_missing()
    named = name_groups(groups, records, {record.identity for record, _ in others.values()})
    found = [records[path] for group in groups for path in group]
    _refuse_tested(found, others, beside)
    marked = "" if beside is None else "train"
    _write(out, [*others.values(), *((record, marked) for record in found if record.path not in others)])
    count = sum(mark.right for mark in marks)
    return Joined(len(found), len(groups), named, count, len(marks) - count, tuple(files.missing.values()), len(others))


def _parts_of(manifest: Path) -> dict[Path, tuple[Record, str]]:
    """The images of a manifest with their parts in training, drawn if the manifest names none; without junk."""
    path = manifest_file(manifest)
    parts, _ = parted(read_rows(path), path, FRACTIONS, SEED, junk=(), distractors=())
    found = [
        (replace(record, path=record.file.resolve()), part) for part, records in parts.items() for record in records
    ]
    if any(record.box is not None for record, _ in found):
        raise DataError(f"{path} names parts of pictures (box), beside which marks cannot stand. Leave it out.")
    return {record.file: (record, part) for record, part in found}


def _refuse_tested(marked: Sequence[Record], others: dict[Path, tuple[Record, str]], beside: Path | None) -> None:
    """Raise `DataError` if a marked identity is in a part of `beside` other than the training part."""
    part_of = {record.identity: part for record, part in others.values()}
    for record in marked:
        if (part := part_of.get(record.identity, "train")) != "train":
            raise DataError(
                f"{record.path} is marked as {record.identity!r}, which {beside} keeps for {part}. Training on it would spoil "
                "that: take back its marks, or leave the manifest out."
            )


def _write(out: Path, rows: Sequence[tuple[Record, str]]) -> None:
    """Write under another name, read the file as training does, and rename it if the content is the same."""
    folder = out.parent.resolve()
    # Normalised as on reading.
    rows = [(replace(record, identity=normalize("NFC", record.identity)), part) for record, part in rows]
    with replacing(folder / out.name) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for record, part in rows:
                writer.writerow(row_of(record, folder, part))
        for (read, _), (record, _) in zip(read_rows(temporary), rows, strict=True):
            if replace(read, path=read.file.resolve()) != record:
                raise DataError(
                    f"{record.path}: a manifest cannot hold this name (line breaks, or leading or trailing spaces). Rename it."
                )
