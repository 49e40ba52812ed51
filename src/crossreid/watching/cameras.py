"""A camera that is watched: its name, where its frames come from, what light it sees, and how far its clock is off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CameraLight = Literal["visible", "infrared", "auto"]


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera.

    name: as events and pages name it; letters, digits, `-`, `_` and `.`, so that it can be a file's name.
    number: from 1, as galleries know cameras.
    source: a video file, a folder of frames, or the address of a stream.
    light: the modality of its frames; `auto` decides by the picture's chroma, and switches when the camera does.
    offset: seconds that are added to its clock, so that the cameras' times agree.
    """

    name: str
    number: int
    source: str
    light: CameraLight = "auto"
    offset: float = 0.0
