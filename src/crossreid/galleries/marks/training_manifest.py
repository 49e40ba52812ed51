"""From marks to a training manifest: each group of images joined by right marks is an identity.

A group has its entries' identity, or gets a new name.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

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
    """Counts of a manifest that was written; `named` identities had no name of their own, `missing` images are left out."""

    images: int
    identities: int
    named: int
    right: int
    wrong: int
    missing: tuple[str, ...] = ()


def write_manifest(
    marks: Sequence[Mark], out: Path, *, images: Sequence[Path], queries: Path | None = None, skip_missing: bool = False
) -> Joined:
    """Write the manifest of what right marks join; paths below its folder are relative to it, others absolute.

    Args:
        images: folders below which the entries' images lie, by their sources.
        queries: folder below which the files that were searched with lie, anywhere, by name and content, or by content
            under another name.
        skip_missing: leave out images that are not found, and say which; what they join is joined all the same.

    Raises:
        DataError: an image that is not found; marks that contradict one another, or the
            identities of entries; no right mark; a file that is there already. Nothing is written then.
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
    named = name_groups(groups, records)
    found = [records[path] for group in groups for path in group]
    _write(out, found)
    count = sum(mark.right for mark in marks)
    return Joined(len(found), len(groups), named, count, len(marks) - count, tuple(files.missing.values()))


def _write(out: Path, records: Sequence[Record]) -> None:
    """Written under another name, read again as training would, and renamed where it says the same."""
    folder = out.parent.resolve()
    records = [replace(record, identity=normalize("NFC", record.identity)) for record in records]  # as it is read
    with replacing(folder / out.name) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for record in records:
                writer.writerow(row_of(record, folder))
        for (read, _), record in zip(read_rows(temporary), records, strict=True):
            if replace(read, path=read.file.resolve()) != record:
                raise DataError(
                    f"{record.path}: a manifest cannot hold this name (line breaks, or leading or trailing spaces). Rename it."
                )
