"""A track within one camera, and the few images that represent it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed


@dataclass(frozen=True, eq=False, slots=True)
class KeyFrame:
    """An image chosen to represent a track; box as in `Detections`, in frame `index`.

    image: `(h, w, 3)` uint8 RGB, `(0, 0, 3)` if no images are kept; or a JPEG of it, which is written unchanged and
    decoded only by `crop`: a track is passed on many times, and its pixels are rarely needed.
    """

    index: int
    time: float
    box: np.ndarray
    image: np.ndarray | bytes
    quality: float

    @property
    def crop(self) -> np.ndarray:
        """The pixels of `image`."""
        if isinstance(self.image, np.ndarray):
            return self.image
        cv2 = needed("cv2", "watching")
        decoded = cv2.imdecode(np.frombuffer(self.image, dtype=np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(decoded[:, :, ::-1])


@dataclass(frozen=True, eq=False, slots=True)
class Tracklet:
    """What is known about a track so far: boxes `(n, 4)` of the frames `indexes` (n,) at `times` (n,), in order.

    track: the track's number within its camera, from 1, not reused after a restart; embedding `(D,)` of length 1,
    of the key frames as a set; finished: whether the tracker has dropped it, so that nothing more follows.
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
