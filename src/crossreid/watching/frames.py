"""A frame of a camera, decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame.

    camera: the camera's name; index: its index in the source, from 0, dropped frames included; time: seconds since 1970
    UTC (for a file without a start time, seconds since its first frame), offset included; image `(H, W, 3)` uint8 RGB.
    """

    camera: str
    index: int
    time: float
    image: np.ndarray
    modality: Modality
