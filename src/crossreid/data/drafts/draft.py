"""A draft of a manifest: find images, examine them, guess the rest; shown before it is written."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from crossreid.data.drafts.annotations import from_coco, from_yolo
from crossreid.data.drafts.folders import from_folders, from_layout, from_names
from crossreid.data.drafts.found import Found
from crossreid.data.drafts.guesses import guess
from crossreid.data.drafts.tables import from_table
from crossreid.data.leaks import key_of, leaks
from crossreid.data.looks import Look, looks_at
from crossreid.data.readers.manifest import split_of
from crossreid.data.readers.manifest_rows import COLUMNS, read_rows, row_of
from crossreid.data.records import DataError, Record, Split
from crossreid.files import replacing

KINDS = ("folders", "names", "market-1501", "msmt17", "coco", "yolo", "csv")
_FILES = {"coco": (".json",), "csv": (".csv", ".tsv", ".txt")}


@dataclass(frozen=True)
class Draft:
    """The content of a manifest to be written.

    `rows` are (record, split); `guesses` are lines about columns that were filled in, `left_out` and `notes` about what
    was left out and how things were read. `split` is how the manifest would be split as it stands, None with a
    `problem` if it cannot be; `leaks` are lines about near-duplicates across the split.
    """

    folder: Path
    rows: tuple[tuple[Record, str], ...]
    guesses: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()
    split: Split | None = None
    problem: str = ""
    leaks: tuple[str, ...] = ()
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def identities(self) -> int:
        return len({record.identity for record, _ in self.rows})


def draft(
    folder: Path,
    kind: str = "folders",
    *,
    source: Path | None = None,
    identity_key: str | None = None,
    modality: str = "auto",
    workers: int | None = None,
    progress: Callable[..., object] | None = None,
) -> Draft:
    """Draft a manifest of the images in `folder`; nothing is written.

    Args:
        kind: one of `KINDS`: where identities come from.
        source: the COCO or CSV file; by default the only one in `folder`.
        identity_key: key of COCO annotations that holds the identity.
        modality: auto (from folder names, else colour), visible or infrared.
        workers: processes that examine images; by default one per core.
        progress: called with (done, total) as images are examined.

    Raises:
        DataError: no such folder, kind or modality, nothing found, or annotations that cannot be read.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise DataError(f"--from {kind!r}: expected one of {', '.join(KINDS)}.")
    if modality not in ("auto", "visible", "infrared"):
        raise DataError(f"--modality {modality!r}: expected auto, visible or infrared.")
    if kind == "csv" and folder.is_file() and source is None:
        folder, source = folder.parent, folder
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Expected the folder that holds the images.")
    found = _found(folder, kind, source, identity_key)
    _leave_out_repeated(found)
    seen = looks_at([record for record, _ in found.rows], workers=workers, progress=progress)
    rows, looks = [], []
    for row, look in zip(found.rows, seen, strict=True):
        if isinstance(look, Look):
            rows.append(row)
            looks.append(look)
        else:
            found.left_out.add(look.removeprefix(f"{row[0].path}"), "images that cannot be read")
    if not rows:
        raise DataError(f"{folder}: none of its {len(found.rows):,} images can be read. {seen[0]}")
    found.rows = rows
    guesses = guess(found, looks, folder, modality)
    found.rows = [(composed(record), split) for record, split in found.rows]
    split, problem, said = _divided(found, looks, folder)
    return Draft(
        folder=folder, rows=tuple(found.rows), guesses=tuple(guesses), left_out=tuple(found.left_out.lines()),
        notes=tuple(found.notes), split=split, problem=problem, leaks=tuple(said),
        sizes={record.file: (look.width, look.height) for (record, _), look in zip(found.rows, looks, strict=True)},
    )  # fmt: skip


def write(made: Draft, out: Path, *, replace: bool = False) -> None:
    """Write a draft as a manifest, atomically, and read it back.

    Raises:
        DataError: the file exists, without `replace`; or a manifest cannot hold a path or an identity.
    """
    if out.exists() and not replace:
        raise DataError(f"{out} exists already. Remove it, choose another --out, or give --replace.")
    folder = out.parent.resolve()
    with replacing(folder / out.name) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            lines = csv.writer(stream)
            used = _used(made.rows)
            lines.writerow([column for column in COLUMNS if column in used])
            for record, split in made.rows:
                values = dict(zip(COLUMNS, row_of(record, folder, split), strict=True))
                lines.writerow([values[column] for column in COLUMNS if column in used])
        for (read, _), (record, _) in zip(read_rows(temporary), made.rows, strict=True):
            if (read.path, read.identity) != (record.file.absolute(), record.identity):
                raise DataError(
                    f"{record.path}: a manifest cannot hold this name (line breaks, or spaces at an end of its name or its identity). "
                    "Rename it."
                )


def composed(record: Record) -> Record:
    """Return the record with its identity in Unicode's composed form, as manifests are read."""
    return dataclasses.replace(record, identity=normalize("NFC", record.identity.strip()))


def _leave_out_repeated(found: Found) -> None:
    """Keep the first of several rows for the same picture, or the same part of it."""
    kept, seen = [], set()
    for record, split in found.rows:
        if key_of(record) in seen:
            found.left_out.add(record.name, "pictures, or parts of them, that occur twice")
        else:
            seen.add(key_of(record))
            kept.append((record, split))
    found.rows = kept


def _found(folder: Path, kind: str, source: Path | None, identity_key: str | None) -> Found:
    if kind == "folders":
        return from_folders(folder)
    if kind == "names":
        return from_names(folder)
    if kind in ("market-1501", "msmt17"):
        return from_layout(kind, folder)
    if kind == "yolo":
        return from_yolo(folder)
    if source is None:
        files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _FILES[kind] and p.name != "manifest.csv"]
        if len(files) != 1:
            names = ", ".join(path.name for path in files[:5]) or "none"
            raise DataError(
                f"{folder}: expected one file ending in {' or '.join(_FILES[kind])}, found {names}. Name it by --source."
            )
        source = files[0]
    if not source.is_file():
        raise DataError(f"{source} not found. Expected the annotation file.")
    return from_coco(folder, source, identity_key) if kind == "coco" else from_table(folder, source)


def _divided(found: Found, looks: list[Look], folder: Path) -> tuple[Split | None, str, list[str]]:
    """Return the split that a manifest of these rows gives, or why it gives none, and the leaks in it."""
    try:
        split = split_of(found.rows, folder / "manifest.csv")
    except DataError as error:
        return None, str(error), []
    by_key = {key_of(record): look for (record, _), look in zip(found.rows, looks, strict=True)}
    return split, "", leaks(split, by_key)


def _used(rows: tuple[tuple[Record, str], ...]) -> set[str]:
    """Return the columns that are not empty in some row, always including the first two and the modality."""
    used = {"path", "identity", "modality"}
    for column, says in (
        ("camera", any(record.camera for record, _ in rows)),
        ("tracklet", any(record.tracklet for record, _ in rows)),
        ("split", any(split for _, split in rows)),
        ("time", any(record.time is not None for record, _ in rows)),
        ("box", any(record.box is not None for record, _ in rows)),
    ):
        if says:
            used.add(column)
    return used
