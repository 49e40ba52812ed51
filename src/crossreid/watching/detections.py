"""Detections in a frame, and the protocol for detectors, including third-party ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crossreid.data.records import DataError
from crossreid.watching.frames import Frame


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """N boxes `(N, 4)` float32, left, top, right, bottom in pixels of the frame, and scores `(N,)` float32 in [0, 1].

    Raises `DataError` for other shapes, numbers that are not finite, boxes without area and scores outside [0, 1].
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, dtype=np.float32).reshape(-1, 4) if np.size(self.boxes) == 0 else self.boxes
        object.__setattr__(self, "boxes", np.asarray(boxes, dtype=np.float32))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float32))
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,):
            raise DataError(
                f"detections: expected boxes (N, 4) and scores (N,), found {self.boxes.shape} and {self.scores.shape}."
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise DataError("detections: expected finite numbers, found NaN or infinity.")
        if (self.boxes[:, 2:] <= self.boxes[:, :2]).any():
            raise DataError("detections: expected right > left and bottom > top for every box.")
        if ((self.scores < 0) | (self.scores > 1)).any():
            raise DataError("detections: expected scores from 0 to 1.")

    def __len__(self) -> int:
        return len(self.boxes)


class Detector(Protocol):
    """Finds boxes in frames. A detector serves one camera, whose frames come in order, so it may keep state."""

    def detect(self, frame: Frame) -> Detections: ...
