"""The six cameras, like SYSU-MM01's: 1, 2, 4, 5 visible, 3 and 6 infrared; 1 to 3 indoors, 2 and 3 in one room.

The difficulty of the world is set only here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crossreid.data.records import Modality


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera. Angles in degrees, light as a factor, blur in pixels at 256 x 128, noise in grey levels.

    `heading` is the centre of the directions in which people walk, as this camera sees them (0 towards it, 180 away),
    and `spread` their range; `tilt` shortens the body, as seen from above.
    """

    number: int
    modality: Modality
    scene: str
    heading: float
    spread: float
    tilt: float
    light: float
    tint: tuple[float, float, float]
    blur: float
    noise: float
    occlusion: float


VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        Camera(1, VISIBLE, "corridor", 10, 50, 1.00, 1.00, (1.04, 1.00, 0.92), 0.5, 3, 0.08),
        Camera(2, VISIBLE, "hall", 60, 60, 0.96, 0.90, (1.00, 1.00, 1.00), 0.7, 4, 0.12),
        Camera(3, INFRARED, "hall", 30, 60, 0.96, 1.00, (1.0, 1.0, 1.0), 0.8, 6, 0.10),
        Camera(4, VISIBLE, "street", 150, 60, 0.93, 1.08, (0.96, 1.00, 1.06), 0.4, 3, 0.15),
        Camera(5, VISIBLE, "park", 320, 70, 0.97, 0.75, (0.98, 1.04, 0.96), 0.9, 5, 0.15),
        Camera(6, INFRARED, "park", 190, 70, 0.94, 0.85, (1.0, 1.0, 1.0), 0.9, 8, 0.12),
    )
}


class Exposure(Protocol):
    """The nuisance factors that scene, lens and sensor need, for any subject."""

    @property
    def light(self) -> float: ...
    @property
    def blur(self) -> float: ...
    @property
    def occlusion(self) -> str: ...
    @property
    def occlusion_at(self) -> float: ...
    @property
    def backdrop(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Nuisance:
    """What differs between two images of one person, without identity."""

    heading: float
    phase: float
    stride: float
    zoom: float
    shift_x: float
    shift_y: float
    light: float
    blur: float
    occlusion: str
    occlusion_at: float
    backdrop: int


def nuisance(camera: Camera, draw: np.random.Generator) -> Nuisance:
    """Draw the nuisance factors of one image by one camera."""
    occlusion = str(draw.choice(("bottom", "left", "right"))) if draw.random() < camera.occlusion else "none"
    return Nuisance(
        heading=round(float(camera.heading + draw.uniform(-camera.spread, camera.spread)) % 360, 1),
        phase=round(float(draw.uniform(0, 2 * np.pi)), 3),
        stride=round(float(draw.uniform(0.5, 1.0)), 3),
        zoom=round(float(draw.uniform(0.93, 1.05)), 3),
        shift_x=round(float(draw.normal(0, 0.035)), 4),
        shift_y=round(float(draw.normal(0, 0.015)), 4),
        light=round(float(camera.light * draw.uniform(0.82, 1.18)), 3),
        blur=round(float(camera.blur * draw.uniform(0.5, 1.5)), 3),
        occlusion=occlusion,
        occlusion_at=round(float(draw.uniform(0.08, 0.22)), 3),
        backdrop=int(draw.integers(0, 1_000_000)),
    )
