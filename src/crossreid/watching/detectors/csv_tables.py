"""Detections as CSV with a header: `frame` (from 0), `left`, `top`, `right`, `bottom` or `width`, `height`, `score`.

`label` and `camera` are optional; without `score`, each is 1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.watching.detectors.known_detections import DetectionRows

CORNERS, SIZES = ("right", "bottom"), ("width", "height")
KNOWN = ("frame", "left", "top", *CORNERS, *SIZES, "score", "label", "camera")


def read_table(path: Path) -> DetectionRows:
    """The rows of a CSV. Raises `DataError` with the line for anything else."""
    rows = DetectionRows()
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        table = csv.DictReader(stream)
        header = tuple(table.fieldnames or ())
        unknown = [column for column in header if column not in KNOWN]
        sized = set(SIZES) <= set(header)
        if unknown or not ({"frame", "left", "top"} <= set(header) and sized != (set(CORNERS) <= set(header))):
            raise DataError(
                f"{path}: expected a header with frame, left, top, and right, bottom or width, height; score, label and camera "
                f"may follow. Found {', '.join(header) or 'none'}."
            )
        for row in _rows(table, path):
            try:
                frame, score = int(row["frame"]), float(row.get("score") or 1.0)
                left, top, *others = (float(row[key]) for key in ("left", "top", *(SIZES if sized else CORNERS)))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}, line {table.line_num}: expected numbers, found {error}.") from error
            if frame < 0 or not 0 <= score <= 1:
                raise DataError(
                    f"{path}, line {table.line_num}: expected a frame from 0 and a score from 0 to 1, found {frame} and {score}."
                )
            right, bottom = (left + others[0], top + others[1]) if sized else (others[0], others[1])
            rows.add(frame, (left, top, right, bottom), score, row.get("label") or None, row.get("camera") or None)
    return rows


def _rows(table: csv.DictReader, path: Path) -> Iterator[dict[str, str]]:
    try:
        for row in table:
            if None in row:
                raise DataError(
                    f"{path}, line {table.line_num}: expected {len(table.fieldnames or ())} columns, found more."
                )
            yield row
    except csv.Error as error:
        raise DataError(f"{path}, line {table.line_num}: {error}.") from error
