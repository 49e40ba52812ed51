"""Detections as JSON lines: one object per line.

    {"frame": 0, "box": [left, top, right, bottom], "score": 0.93, "label": "person", "camera": "gate"}

`frame`, counted from 0, and `box`, in pixels, are required. `score` is from 0 to 1, and 1 if missing. `label` and
`camera` are optional; a line with a camera is for that camera only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossreid.data.records import DataError
from crossreid.watching.detectors.known_detections import DetectionRows

KEYS = ("frame", "box", "score", "label", "camera")


def read_json_lines(path: Path) -> DetectionRows:
    """The rows of a file of JSON lines. Raises `DataError` with the number of a line that is not one."""
    rows = DetectionRows()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _wrong(path, number, line) from error
        if not isinstance(row, dict) or not isinstance(row.get("box"), list) or len(row["box"]) != 4:
            raise _wrong(path, number, line)
        unknown = [key for key in row if key not in KEYS]
        if unknown:
            raise DataError(f"{path}, line {number}: unknown key {unknown[0]!r}. Expected some of {', '.join(KEYS)}.")
        frame, score = row.get("frame"), row.get("score", 1.0)
        numbers = [frame, score, *row["box"]]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
            raise _wrong(path, number, line)
        if not isinstance(frame, int) or frame < 0 or not 0 <= score <= 1:
            raise _wrong(path, number, line)
        left, top, right, bottom = map(float, row["box"])
        rows.add(frame, (left, top, right, bottom), float(score), _text(row.get("label")), _text(row.get("camera")))
    return rows


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _wrong(path: Path, number: int, line: str) -> DataError:
    return DataError(
        f'{path}, line {number}: expected {{"frame": 0, "box": [left, top, right, bottom], "score": 0.9}}, frames from 0 and scores '
        f"from 0 to 1; found {line[:80]!r}."
    )
