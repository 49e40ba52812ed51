"""`events.csv`: each event as a row, for spreadsheets; an empty cell stands for JSON's null.

A cell that a spreadsheet would read as a formula gets a leading apostrophe (OWASP, "CSV injection"), and characters
that would break a line become spaces. `events.jsonl` has the texts unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from crossreid.galleries.marks.exported import guarded
from crossreid.watching.events import Event
from crossreid.watching.sinks.line_files import LineFile

COLUMNS = tuple(field.name for field in fields(Event))
_NUMBER = COLUMNS.index("number")
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029\0]+")


class CsvLines(LineFile):
    """Raises what `LineFile` raises."""

    name = "csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path, _row, _number, ",".join(COLUMNS))


def _row(event: Event) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([_cell(value) for value in astuple(event)])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return guarded(_BREAKS.sub(" ", value))


def _number(line: str) -> int:
    (row,) = csv.reader([line])
    if len(row) != len(COLUMNS):
        raise ValueError(f"expected {len(COLUMNS)} cells, found {len(row)}")
    return int(row[_NUMBER])
