"""Where things are in the city: sites with their gates and furniture, the streets between gates, the six cameras.

Lengths are in metres. A site has its own plane, x to the right and y away from the camera, which hangs in the south.
Cameras 1 and 2 hang in one hall and see the same people at once; 3 hangs in a dark passage and is always infrared; 4 to
6 see in colour by day and switch to infrared at dusk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crossreid.data.records import Modality

Place = tuple[float, float]
# The focal length as a share of the frame's width, and the height of the lens, in metres.
FOCAL, LENS = 0.72, 2.8
# The horizon as a share of the frame's height: cameras are shifted, not tilted, so that people stand upright.
HORIZON = 0.12


@dataclass(frozen=True, slots=True)
class Furniture:
    """What stands in a site and occludes people behind it: a `post`, a `planter` or a `pillar`."""

    kind: Literal["post", "planter", "pillar"]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Site:
    gates: dict[str, Place]
    furniture: tuple[Furniture, ...] = ()


SIDES: dict[str, Place] = {"west": (-7.5, 2.0), "east": (7.5, 2.5)}
SITES: dict[str, Site] = {
    "hall": Site(SIDES, (Furniture("pillar", -1.6, 1.2, 0.5, 2.6),)),
    "passage": Site({**SIDES, "north": (1.4, 5.6)}, (Furniture("planter", -2.2, 0.6, 1.3, 0.75),)),
    "square": Site(
        {**SIDES, "north": (-2.0, 5.6)}, (Furniture("post", 1.7, 0.9, 0.22, 3.4), Furniture("planter", -2.6, 0.8, 1.2, 0.8))
    ),
    "street": Site({**SIDES, "north": (2.4, 5.6)}, (Furniture("post", -1.3, 0.7, 0.25, 3.6),)),
    "park": Site(
        {**SIDES, "north": (-1.2, 5.6)}, (Furniture("post", 2.2, 1.6, 0.42, 4.0), Furniture("planter", -2.4, 0.4, 1.4, 0.7))
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Street:
    """A path between two gates that no camera sees."""

    one: tuple[str, str]
    other: tuple[str, str]
    length: float


STREETS: tuple[Street, ...] = (
    Street(("hall", "east"), ("passage", "west"), 9),
    Street(("passage", "east"), ("square", "west"), 14),
    Street(("square", "east"), ("street", "west"), 18),
    Street(("street", "east"), ("park", "west"), 12),
    Street(("park", "east"), ("hall", "west"), 22),
    Street(("square", "north"), ("park", "north"), 16),
    Street(("passage", "north"), ("street", "north"), 20),
)


@dataclass(frozen=True, slots=True)
class CityCamera:
    """One camera: its position in its site, and its `yaw` in degrees from y towards x.

    `back` is the depth of the wall behind everybody, in metres; nobody is seen beyond it. `light`, `tint` and `noise`
    are as in `synthetic.cameras`.
    """

    name: str
    number: int
    site: str
    scene: Literal["hall", "passage", "square", "street", "park"]
    x: float
    y: float
    yaw: float
    back: float
    by_day: Modality
    by_night: Modality
    light: float
    tint: tuple[float, float, float]
    noise: float

    @property
    def outdoors(self) -> bool:
        return self.by_day != self.by_night

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Convert positions `(n, 2)` in the site to this camera's, `(n, 2)`: metres to the right, and metres away."""
        turn = math.radians(self.yaw)
        across = (math.cos(turn), -math.sin(turn))
        away = (math.sin(turn), math.cos(turn))
        return (np.asarray(points, dtype=np.float64) - (self.x, self.y)) @ np.array([across, away]).T


VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
CAMERAS: tuple[CityCamera, ...] = (
    CityCamera("hall-south", 1, "hall", "hall", 0.0, -4.2, 0, 10.5, VISIBLE, VISIBLE, 1.00, (1.03, 1.00, 0.94), 3),
    CityCamera("hall-east", 2, "hall", "hall", 5.6, 6.6, -128, 14.0, VISIBLE, VISIBLE, 0.90, (1.00, 1.00, 1.02), 4),
    CityCamera("passage", 3, "passage", "passage", 0.3, -4.0, 0, 9.5, INFRARED, INFRARED, 1.00, (1.0, 1.0, 1.0), 6),
    CityCamera("square", 4, "square", "square", -0.2, -4.2, 4, 9.7, VISIBLE, INFRARED, 1.06, (0.97, 1.00, 1.05), 3),
    CityCamera("street", 5, "street", "street", 0.2, -4.2, -3, 9.7, VISIBLE, INFRARED, 0.95, (1.00, 0.99, 1.00), 4),
    CityCamera("park", 6, "park", "park", 0.0, -4.4, 0, 9.9, VISIBLE, INFRARED, 0.88, (0.98, 1.04, 0.96), 5),
)
