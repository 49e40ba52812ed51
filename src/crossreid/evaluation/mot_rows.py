"""Rows of MOT Challenge, in truth and tracks: `frame, id, left, top, width, height[, flag, class, visibility]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossreid.data.records import DataError

PEDESTRIAN = 1
# Ground-truth classes that are neither required nor wrong to find: people on vehicles, static people, distractors,
# reflections.
DISTRACTORS = (2, 7, 8, 12)


@dataclass(frozen=True, eq=False, slots=True)
class MotRows:
    """N rows of a file: `frames (N,)` from 1 and `identities (N,)`, int64; `boxes (N, 4)` float64, left, top, right,
    bottom in pixels; `flags (N,)`, in the truth 0 if a row is to be ignored, else a score; `classes (N,)`, PEDESTRIAN
    if not given."""

    frames: np.ndarray
    identities: np.ndarray
    boxes: np.ndarray
    flags: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def chosen(self, mask: np.ndarray) -> MotRows:
        return MotRows(self.frames[mask], self.identities[mask], self.boxes[mask], self.flags[mask], self.classes[mask])


def read_mot_rows(path: Path) -> MotRows:
    """Read the rows of a file, which may be empty.

    Raises:
        DataError: with the line: fewer than six columns, something that is not a number, a frame below 1, a box without
            an area, or an identity twice in a frame.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}). Expected rows of MOT Challenge.") from error
    rows = [(number, _numbers(path, number, line)) for number, line in enumerate(lines, start=1) if line.strip()]
    table = np.array([values for _, values in rows], dtype=np.float64).reshape(-1, 8)
    found = MotRows(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        np.column_stack([table[:, 2:4], table[:, 2:4] + table[:, 4:6]]),
        table[:, 6],
        table[:, 7].astype(np.int64),
    )
    _refuse_twice(path, found, [number for number, _ in rows])
    return found


def _numbers(path: Path, number: int, line: str) -> list[float]:
    """Return the eight numbers of a line; a class that is missing or -1 is PEDESTRIAN."""
    cells = [cell for cell in line.replace(",", " ").replace(";", " ").split() if cell]
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    if len(values) < 6 or not np.isfinite(values).all():
        raise DataError(
            f"{path}, line {number}: expected frame, id, left, top, width, height, ... in numbers, found {line!r}."
        )
    frame, identity, _, _, width, height = values[:6]
    if frame < 1 or frame != int(frame) or identity != int(identity):
        raise DataError(f"{path}, line {number}: expected a frame from 1 and an id as whole numbers, found {line!r}.")
    if width <= 0 or height <= 0:
        raise DataError(f"{path}, line {number}: expected a width and a height above 0, found {line!r}.")
    flag = values[6] if len(values) > 6 else 1.0
    kind = values[7] if len(values) > 7 and values[7] >= 0 else PEDESTRIAN
    return [*values[:6], flag, kind]


def _refuse_twice(path: Path, rows: MotRows, numbers: list[int]) -> None:
    keys = np.column_stack([rows.frames, rows.identities])
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        at = int(first[counts > 1][0])
        raise DataError(
            f"{path}, line {numbers[at]}: identity {rows.identities[at]} occurs {counts[counts > 1][0]} times in frame "
            f"{rows.frames[at]}; expected one box per identity and frame. Detections without identities are not tracks."
        )
