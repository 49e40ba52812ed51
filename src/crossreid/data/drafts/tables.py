"""A table with other column names: columns recognised by common names, and named cameras numbered."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from crossreid.data.drafts.found import Found, as_numbers, modality_word, numbered
from crossreid.data.drafts.guesses import seconds_in
from crossreid.data.image_names import is_image, reason_left_out
from crossreid.data.readers.manifest_rows import COLUMNS, SPLITS, nearest_column
from crossreid.data.records import DataError, Modality, Record, iso_seconds
from crossreid.errors import CrossreidError

_SIDES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))


def from_table(folder: Path, table: Path) -> Found:
    """Read a CSV file whose columns may have other names; paths are relative to the table, or to `folder`."""
    rows, columns = _rows(table)
    said = _columns(columns, table)
    found = Found(known=set(said) & {"camera", "modality", "split", "time"})
    found.notes += [f"{known}: from the column {column!r}" for known, column in said.items() if known != column]
    sides = next((names for names in _SIDES if set(names) <= set(columns)), None)
    corners = next((names for names in _CORNERS if set(names) <= set(columns)), None)
    if "box" not in said and (sides or corners):
        found.notes.append(f"box: from the columns {', '.join(sides or corners or ())}")
    unused = set(columns) - set(said.values()) - set(sides or ()) - set(corners or ())
    if unused:
        found.notes.append(f"not read: the columns {', '.join(repr(column) for column in sorted(unused))}")
    cameras = numbered(row[said["camera"]] for row in rows if "camera" in said and row[said["camera"]])
    if text := as_numbers(cameras):
        found.notes.append(f"cameras are numbered: {text}")
    for line, row in enumerate(rows, start=2):
        where = f"{table}, row {line}"
        value = {known: row[column] for known, column in said.items()}
        image = _file(value["path"], folder, table)
        if image is None:
            found.left_out.add(value["path"], "listed in the table, but not found")
        elif not is_image(image.name):
            found.left_out.add(str(image), reason_left_out(image.name))
        elif not value["identity"] and value.get("split", "").lower() not in ("junk", "distractor"):
            found.left_out.add(str(image), "no identity in the table")
        else:
            box = _box(row, value.get("box", ""), sides, corners, where)
            record = Record(
                image, value["identity"], cameras.get(value.get("camera", ""), 0), _modality(value.get("modality", ""), where),
                value.get("tracklet") or None, box=box, time=_time(value.get("time", ""), where),
            )  # fmt: skip
            found.rows.append((record, _split(value.get("split", ""), where)))
    if not found.rows:
        raise DataError(
            f"{table}: none of its {len(rows)} rows names an existing image. Paths are searched below {table.parent} and "
            f"below {folder}."
        )
    return found


def _rows(table: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        ]
    except csv.Error as error:
        raise DataError(f"{table} is not valid CSV ({error}). Is a quotation mark not closed?") from error
    lines = [row for row in lines if any(row)]
    if len(lines) < 2:
        raise DataError(f"{table} is empty. Expected a header line, and one line per image.")
    columns = lines[0]
    for number, row in enumerate(lines[1:], start=2):
        if len(row) > len(columns) and any(row[len(columns) :]):
            raise DataError(f"{table}, row {number}: {len(row)} values, expected {len(columns)} as in the first line.")
    return [dict(zip(columns, row + [""] * len(columns), strict=False)) for row in lines[1:]], columns


def _columns(columns: list[str], table: Path) -> dict[str, str]:
    """Return the table's column for each known one; the exact name comes first, then the nearest."""
    said = {known: column for known in COLUMNS for column in columns if column.lower() == known}
    for column in columns:
        near = nearest_column(column)
        if near is not None and column not in said.values():
            said.setdefault(near[0], column)
    for needed in ("path", "identity"):
        if needed not in said:
            raise DataError(
                f"{table}: no column looks like the {needed}; it has {', '.join(map(repr, columns))}. Rename the right one "
                f"to {needed!r}."
            )
    return said


def _file(text: str, folder: Path, table: Path) -> Path | None:
    slashes = text.replace("\\", "/")
    return next(
        (p for base in (table.parent, folder) for t in (text, slashes) if t and (p := base / t).is_file()), None
    )


def _modality(text: str, where: str) -> Modality:
    if not text:
        return Modality.VISIBLE
    if (word := modality_word(text)) is None:
        raise DataError(f"{where}: modality is {text!r}, expected visible or infrared (also rgb, ir, nir, thermal).")
    return word


def _split(text: str, where: str) -> str:
    word = {"valid": "val", "training": "train"}.get(text.lower(), text.lower())
    if word and word not in SPLITS:
        raise DataError(f"{where}: split is {text!r}, expected one of {', '.join(SPLITS)}.")
    return SPLITS.get(word, "")


def _time(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        return iso_seconds(text)
    except CrossreidError:
        seconds = seconds_in(text)
    if seconds is None:
        raise DataError(f"{where}: time is {text!r}, expected ISO 8601, for example 2026-11-21T08:30:00Z.")
    return seconds


def _box(
    row: dict[str, str], text: str, sides: tuple[str, ...] | None, corners: tuple[str, ...] | None, where: str
) -> tuple[int, int, int, int] | None:
    cells = text.strip("[]() ").replace(",", " ").replace(";", " ").split()
    names = sides or corners
    if not cells and names is not None:
        cells = [row[name] for name in names if row[name]]
    if not cells:
        return None
    try:
        left, top, right, bottom = map(float, cells)
        if not (names is not None and names is corners and not text):  # width and height
            right, bottom = left + right, top + bottom
        box = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: box is {' '.join(cells)!r}, expected x, y, width and height in pixels.") from error
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"{where}: box is {' '.join(cells)!r}, which is empty.")
    return max(box[0], 0), max(box[1], 0), box[2], box[3]
