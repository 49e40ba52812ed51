"""A track within one camera, and the few images that stand for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality


@dataclass(frozen=True, eq=False, slots=True)
class KeyFrame:
    """An image that was chosen to stand for a track: crop `(h, w, 3)` uint8 RGB; box as in `Detections`, of frame `index`."""

    index: int
    time: float
    box: np.ndarray
    crop: np.ndarray
    quality: float


@dataclass(frozen=True, eq=False, slots=True)
class Tracklet:
    """What is known of a track so far: boxes `(n, 4)` of the frames `indexes` (n,) at `times` (n,), in order.

    track: the track's number within its camera, from 1, not used again after a restart; embedding `(D,)` of length 1,
    of the key frames as a set; finished: whether the tracker has given it up, so that nothing more follows.
    """

    camera: str
    track: int
    modality: Modality
    indexes: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    key_frames: tuple[KeyFrame, ...]
    embedding: np.ndarray
    finished: bool

    @property
    def start(self) -> float:
        return float(self.times[0])

    @property
    def end(self) -> float:
        return float(self.times[-1])
