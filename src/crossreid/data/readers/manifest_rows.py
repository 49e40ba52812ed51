"""Read the lines of a manifest into records, and write records as lines.

What is read differently from how it was written (a path with backslashes, a name in another Unicode form), and what is
not read at all (a column with an unknown name), is reported in `notes`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from math import ceil, floor, isfinite
from pathlib import Path
from typing import Any, Literal, get_args
from unicodedata import normalize

from crossreid.data.addresses import Address, Place, is_address, place_of
from crossreid.data.records import DataError, Modality, Record, iso_seconds

JUNK, DISTRACTOR = "junk", "distractor"
SPLITS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "query": "query",
    "gallery": "gallery",
    JUNK: JUNK,
    DISTRACTOR: DISTRACTOR,
}
MOST = 2**63 - 1  # the largest camera number: tables and tensors store it in 64 bits
COLUMNS = ("path", "identity", "camera", "modality", "tracklet", "split", "time", "box")
# Other names of columns.
SYNONYMS = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path", "picture"),
    "identity": ("id", "pid", "identity_id", "individual", "individual_id", "label", "class", "name", "person", "person_id",
                 "animal", "animal_id", "vehicle_id", "subject"),
    "camera": ("cam", "camid", "cam_id", "camera_id", "cameraid", "view", "viewpoint", "station", "location", "site"),
    "modality": ("modal", "spectrum", "mode", "light", "domain", "sensor"),
    "tracklet": ("track", "track_id", "tracklet_id", "sequence", "seq", "seq_id", "burst"),
    "split": ("set", "subset", "part", "partition", "fold", "role"),
    "time": ("date", "datetime", "timestamp", "date_time", "taken", "captured", "date_captured"),
    "box": ("bbox", "bounding_box", "boundingbox", "rect", "crop"),
}  # fmt: skip
Outside = Literal["absolute", "allow", "refuse"]
_MODALITIES = {"visible": Modality.VISIBLE, "rgb": Modality.VISIBLE, "vis": Modality.VISIBLE, "infrared": Modality.INFRARED,
               "ir": Modality.INFRARED, "nir": Modality.INFRARED, "thermal": Modality.INFRARED}  # fmt: skip


@dataclass
class Notes:
    """Notes of a reader on a manifest, one line per kind, with the count and the first example."""

    columns: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, example)

    def lines(self) -> list[str]:
        return self.columns + [f"{count:,} {kind} (first: {self.first[kind]})" for kind, count in self.counts.items()]


def read_rows(
    path: Place,
    *,
    anonymous: bool = False,
    outside: Outside = "absolute",
    notes: Notes | None = None,
    addresses: bool = False,
) -> list[tuple[Record, str]]:
    """Yield the (record, split) of each line; split is '' if not given. Commas, semicolons and tabs separate; a BOM is
    skipped.

    Identities and tracklets are compared in Unicode's composed form (NFC). A path that does not exist as written is
    searched in the other forms, and with its backslashes as slashes.

    Args:
        anonymous: identities may be missing and are then ''. Those of junk and distractors may always be missing.
        outside: which paths may lead out of the manifest's folder: `absolute` ones, which do so openly, but none that
            climbs up by `..`; `allow` both; `refuse` both. Links in the folder are its owner's, and are followed.
        addresses: paths may be addresses of objects, and count as absolute.
        notes: if given, collects what was read differently from how it was written, or not read.

    Raises:
        DataError: as in `parse`.
    """
    text = _text(path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[tuple[Record, str]] = []
    seen: dict[tuple[str, str, object], int] = {}
    real = cache(
        lambda folder: os.path.realpath(folder) if isinstance(folder, Path) else folder.text
    )  # of folders, which are few; the same one may be spelled in several ways
    needed = ("path",) if anonymous else ("path", "identity")
    notes = Notes() if notes is None else notes
    if outside not in get_args(Outside):
        raise DataError(f"manifest: outside is {outside!r}, expected one of {', '.join(get_args(Outside))}.")
    for line, row in _lines(reader, path, needed, notes):
        where = f"{path}, line {line}"
        values = {column: (row.get(column) or "").strip() for column in COLUMNS}
        split = _known_split(values["split"], where)
        if split in (JUNK, DISTRACTOR):
            values["identity"] = values["identity"] or split
        if not all(values[column] for column in needed):
            raise DataError(f"{where}: {' and '.join(needed)} must not be empty.")
        _refuse_characters(values, row, where, separator)
        modality = values["modality"].lower() or "visible"
        if modality not in _MODALITIES:
            raise DataError(f"{where}: modality is {modality!r}, expected visible or infrared.")
        image = _place(path.parent, values["path"], outside, where, notes, addresses)
        box = _box(values["box"], where)
        place = real(image.parent), image.name, box
        if place in seen:
            raise DataError(f"{where}: {values['path']} is already listed in line {seen[place]}.")
        seen[place] = line
        record = Record(
            image, _composed(values["identity"], "identity", notes), _camera(values["camera"], where), _MODALITIES[modality],
            _composed(values["tracklet"], "tracklet", notes) or None, box=box, time=_seconds(values["time"], where),
        )  # fmt: skip
        rows.append((record, split))
    if not rows:
        raise DataError(f"{path} lists no images.")
    return rows


def row_of(record: Record, folder: Path, split: str = "") -> tuple[object, ...]:
    """Return the values of a record in the order of `COLUMNS`; its path is relative if below `folder`."""
    image = Path(os.path.abspath(record.file))
    below = image.is_relative_to(folder)
    time = "" if record.time is None else datetime.fromtimestamp(record.time, UTC).isoformat()
    box = ""
    if record.box is not None:
        left, top, right, bottom = record.box
        box = f"{left},{top},{right - left},{bottom - top}"
    return (
        (image.relative_to(folder) if below else image).as_posix(), record.identity, record.camera or "",
        record.modality.name.lower(), record.tracklet or "", split, time, box,
    )  # fmt: skip


def nearest_column(name: str) -> tuple[str, bool] | None:
    """Return (known column, whether it is the same word misspelled) that an unknown column may mean; None if nothing is
    near.
    """
    word = name.strip().lower().replace(" ", "_").replace("-", "_")
    if word in COLUMNS:
        return word, True
    if near := get_close_matches(word, COLUMNS, n=1, cutoff=0.75):
        return near[0], True
    return next(((known, False) for known, others in SYNONYMS.items() if word in others), None)


def unknown_columns(columns: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Return (column, what to do about it, whether it looks misspelled) for columns of a manifest that are not read."""
    found = []
    for column in dict.fromkeys(columns):
        if column in COLUMNS:
            continue
        near = nearest_column(column)
        if near is None or near[0] in columns:
            found.append((column, f"column {column!r} is not read.", False))
        else:
            hint = (
                f"Did you mean {near[0]!r}? Rename it" if near[1] else f"If it is the {near[0]}, rename it {near[0]!r}"
            )
            found.append((column, f"column {column!r} is not read. {hint}.", near[1]))
    return found


def columns_of(path: Path) -> list[str]:
    """Return the names in the first line of a manifest, as written."""
    first = _text(path).split("\n", 1)[0]
    lines = list(csv.reader([first], delimiter=max(",;\t", key=first.count), skipinitialspace=True))
    return [column.strip() for column in (lines[0] if lines else [])]


def _text(path: Place) -> str:
    if not path.is_file():
        raise DataError(
            f"manifest {path} not found. Expected a CSV file with the columns path,identity (docs/datasets.md#manifest); "
            "`crossreid manifest FOLDER` writes one."
        )
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error


def _lines(
    reader: csv.DictReader[str], path: Place, needed: Sequence[str], notes: Notes
) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Yield (number of its last line, values by column) of each row; raises `DataError` for invalid CSV or columns."""
    try:
        columns = [column.strip() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        for column in COLUMNS:
            if column in needed and column not in columns:
                near = next((other for other in columns if (nearest_column(other) or ("",))[0] == column), None)
                hint = f" Is it {near!r}? Rename that column." if near is not None else ""
                raise DataError(
                    f"{path}, line 1: column {column!r} is missing.{hint} Expected path,identity and any of "
                    f"{', '.join(COLUMNS[2:])}."
                )
            if columns.count(column) > 1:
                raise DataError(
                    f"{path}, line 1: column {column!r} occurs {columns.count(column)} times, expected once."
                )
        notes.columns += [line for _, line, _ in unknown_columns(columns)]
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num + 1}: the row that starts there is not valid CSV ({error}). Is a quotation mark unclosed?"
        ) from error


def _known_split(text: str, where: str) -> str:
    split = text.lower()
    if split and split not in SPLITS:
        raise DataError(f"{where}: split is {split!r}, expected one of {', '.join(SPLITS)}.")
    return SPLITS.get(split, "")


def _refuse_characters(values: dict[str, str], row: dict[Any, Any], where: str, separator: str) -> None:
    for column, value in values.items():
        if any(character in value for character in "\n\r\0"):
            raise DataError(
                f"{where}: {column} contains a line break or a NUL ({value[:40]!r}...). Is a quotation mark not closed?"
            )
    if any(row.get(None, ())):
        raise DataError(
            f"{where}: more values than columns in the first line. Put values that contain {separator!r} in quotation marks."
        )


def _place(folder: Place, text: str, outside: Outside, where: str, notes: Notes, addresses: bool) -> Place:
    """Return the file or object that a path means."""
    if is_address(text):
        if not addresses:
            raise DataError(
                f"{where}: {text} is an address; only `crossreid embed` reads object storage. Copy it here first."
            )
        place = place_of(text)
        below = isinstance(folder, Address) and place.as_posix().startswith(folder.text + "/")
        if outside == "refuse" and not below:
            raise DataError(
                f"{where}: {text} leads out of the manifest's folder, which the option outside=refuse forbids."
            )
        return place
    if isinstance(folder, Path):
        return _image(folder, text, outside, where, notes)
    if text.startswith("/") or ".." in text.split("/"):
        raise DataError(
            f"{where}: {text} is not a path below {folder}. Expected such paths, or addresses: SCHEME://BUCKET/KEY."
        )
    return folder / text.removeprefix("./")


def _image(folder: Path, text: str, outside: Outside, where: str, notes: Notes) -> Path:
    """Return the file that a path means; the file system is only asked about paths that may be spelled differently."""
    image = folder / text
    if ("\\" in text or not text.isascii()) and not os.path.lexists(image):
        image = _spelled_otherwise(folder, text, notes)
    absolute = Path(text).is_absolute()
    if outside == "allow" or not (absolute or ".." in text):
        return image
    if absolute:
        if outside == "refuse" and not _below(image, folder):
            raise DataError(
                f"{where}: {text} leads out of the manifest's folder, which the option outside=refuse forbids."
            )
    elif not _below(image, folder):
        raise DataError(
            f"{where}: {text} leads out of the folder of the manifest. Expected paths below it, or absolute ones; set the "
            "option outside=allow (data.options.outside in a recipe, --option outside=allow) where that is meant."
        )
    return image


def _below(image: Path, folder: Path) -> bool:
    """Return whether a path, as written, stays below a folder; links are not followed."""
    return Path(os.path.abspath(image)).is_relative_to(os.path.abspath(folder))


def _spelled_otherwise(folder: Path, text: str, notes: Notes) -> Path:
    slashes = text.replace("\\", "/")
    for form in ("", "NFC", "NFD"):
        other = folder / (normalize(form, slashes) if form else slashes)  # type: ignore[arg-type]
        if os.path.lexists(other):
            how = "with backslashes, read as slashes" if slashes != text else "in another Unicode form than their files"
            notes.add(f"paths are written {how}", text)
            return other
    return folder / slashes  # a missing file is reported when it is read


def _composed(text: str, what: str, notes: Notes) -> str:
    """Return the text in Unicode's composed form: some systems store the same name decomposed."""
    composed = normalize("NFC", text)
    if composed != text:
        notes.add(f"values of {what} are in another Unicode form than NFC, and are read as NFC", composed)
    return composed


def _camera(text: str, where: str) -> int:
    digits = text.lstrip("0") or "0"
    if (text and not text.isdecimal()) or len(digits) > 19 or int(digits) > MOST:
        raise DataError(
            f"{where}: camera is {text[:40]!r}, expected a whole number up to {MOST}, for example 3, or nothing where it is "
            "unknown. `crossreid manifest TABLE --from csv` numbers cameras that have names."
        )
    return int(digits)


def _box(text: str, where: str) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom), the whole pixels that contain `x,y,width,height`; None for ''."""
    if not text:
        return None
    parts = [part for part in re.split(r"[\s,;]+", text.strip("[]() ")) if part]
    try:
        x, y, width, height = map(float, parts)
    except ValueError:
        x = y = width = height = float("nan")
    if not all(map(isfinite, (x, y, width, height))) or min(x, y) < 0 or min(width, height) <= 0 or x + y > MOST:
        raise DataError(
            f"{where}: box is {text[:40]!r}, expected x,y,width,height in pixels of the upright picture, from its top left "
            'corner, for example "120,40,64,128" in quotation marks.'
        )
    return floor(x), floor(y), ceil(x + width), ceil(y + height)


def _seconds(text: str, where: str) -> float | None:
    """Return ISO 8601 text, in UTC if it names no zone, as seconds since 1970 UTC; None for ''."""
    if not text:
        return None
    try:
        seconds = iso_seconds(text)
        datetime.fromtimestamp(
            seconds, UTC
        )  # in the calendar's first and last hours, another time zone may lie beyond it
        return seconds
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: time is {text!r}, expected ISO 8601, for example 2026-11-21T08:30:00Z.") from error
