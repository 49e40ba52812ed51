"""Detections in MOT Challenge format: det.txt and gt.txt.

One line each, `frame,id,left,top,width,height,confidence,...`; frames count from 1. In ground truth (nine columns, the
seventh says whether to consider a row, the ninth how much is visible), rows not to be considered are left out.
Confidence -1 means none and counts as 1; confidences outside [0, 1] are rescaled per file, the lowest to 0 and the
highest to 1.
"""

from __future__ import annotations

import math
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.watching.detectors.known_detections import DetectionRows

TRUTH = 9  # columns of a gt.txt; a det.txt has 7 or 10


def read_mot(path: Path) -> DetectionRows:
    """The rows of a det.txt or gt.txt. Raises `DataError` with the line for anything else."""
    rows, passed_over, first = DetectionRows(), 0, 0
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        parts = [part for part in line.replace(",", " ").split() if part]
        try:
            values = [float(part) for part in parts]
        except ValueError as error:
            raise _wrong(path, number, line) from error
        if len(values) < 6 or not all(map(math.isfinite, values)) or values[0] < 1 or values[0] != int(values[0]):
            raise _wrong(path, number, line)
        frame, _, left, top, width, height = values[:6]
        confidence = values[6] if len(values) > 6 else -1.0
        truth = len(values) == TRUTH
        if truth and confidence == 0:
            passed_over, first = passed_over + 1, first or number
            continue
        score = 1.0 if truth or confidence == -1 else confidence
        label = str(int(values[7])) if len(values) > 7 and values[7] >= 0 else None
        rows.add(int(frame) - 1, (left, top, left + width, top + height), score, label)
    if passed_over:
        rows.notes.append(f"left out, {passed_over:,}: rows not to be considered (for example line {first})")
    low, high = min(rows.scores, default=0.0), max(rows.scores, default=1.0)
    if low < 0 or high > 1:
        spread = high - low or 1.0
        rows.scores = [(score - low) / spread for score in rows.scores]
        rows.notes.append(f"scores: {low:g} to {high:g} in the file, scaled to 0 to 1")
    return rows


def _wrong(path: Path, number: int, line: str) -> DataError:
    return DataError(
        f"{path}, line {number}: expected frame (from 1), id, left, top, width, height and confidence, in MOT Challenge format; "
        f"found {line[:80]!r}."
    )
