"""The file of marks exported by the page of `crossreid serve`: one line per match marked right or wrong."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossreid.data.records import DataError, Record
from crossreid.galleries.values import modality_of, utc_seconds

FIELDS = (
    "query", "query_sha256", "query_modality", "query_path", "query_identity", "query_camera", "query_time",
    "mark", "score", "rank", "id", "path", "identity", "camera", "modality", "time", "model",
)  # fmt: skip
ENTRY = "id:"  # prefix of a query's name if the query is an entry
# Characters by which a spreadsheet recognises a formula (OWASP, "CSV injection"), as in the page's marks.js.
_FORMULA = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"


@dataclass(frozen=True, slots=True)
class Mark:
    """One line, counted from 1. `entry` is the match; its path is the entry's source. A query is a file, given by name
    and SHA-256 of its content, or an entry, `id:ID`; then `asking` is what is known about it."""

    line: int
    query: str
    sha256: str
    asking: Record
    right: bool
    id: str
    entry: Record


def read_marks(path: Path) -> list[Mark]:
    """The marks in a file exported by the page. Raises `DataError` naming the line and its fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Expected marks exported by the page.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}, line 1: column {missing[0]!r} is missing. Expected {','.join(FIELDS)}.")
        return [_mark(row, reader.line_num, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error


def _mark(row: dict[str, str], line: int, where: str) -> Mark:
    if None in row or None in row.values():
        raise DataError(f"{where}: expected {len(FIELDS)} cells.")
    cells = {name: _unguarded(row[name]) for name in FIELDS}
    if cells["mark"] not in ("right", "wrong"):
        raise DataError(f"{where}: mark is {cells['mark']!r}, expected right or wrong.")
    if not cells["query"] or not cells["id"]:
        raise DataError(f"{where}: query and id must not be empty.")
    if not re.fullmatch(
        "[0-9a-f]{64}" if cells["query_sha256"] else f"{ENTRY}.+", cells["query_sha256"] or cells["query"], re.S
    ):
        raise DataError(
            f"{where}: expected the SHA-256 of the query's file as query_sha256, or none with {ENTRY}ID as the query."
        )
    entry = _record(cells, "", where)
    return Mark(
        line, cells["query"], cells["query_sha256"], _record(cells, "query_", where), cells["mark"] == "right",
        cells["id"], entry,
    )  # fmt: skip


def _record(cells: dict[str, str], of: str, where: str) -> Record:
    """A line's information about the match, or the query."""
    camera, time = cells[f"{of}camera"] or "0", cells[f"{of}time"]
    if not (camera.isascii() and camera.isdecimal()):
        raise DataError(f"{where}: {of}camera is {camera!r}, expected a whole number, 0 if unknown.")
    try:
        seen = modality_of(cells[f"{of}modality"])
        taken = datetime.fromtimestamp(utc_seconds(time), UTC).timestamp() if time else None
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"{where}: {error}") from error
    return Record(Path(cells[f"{of}path"]), cells[f"{of}identity"].strip(), int(camera), seen, time=taken)


def guarded(cell: str) -> str:
    """A cell that no spreadsheet reads as a formula: a formula, with any apostrophes before it, gets one more."""
    return f"'{cell}" if re.match(f"'*{_FORMULA}", cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if re.match(f"'+{_FORMULA}", cell) else cell
