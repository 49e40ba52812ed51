"""Bevelled boxes in parallel projection: rotated by a heading, seen obliquely from above, with flat-shaded faces.

Points are (lateral, forward, up) in metres; lateral is positive to the object's left, heading 0 is towards the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from crossreid.data.synthetic.canvas import Colour, Point

FACES = ("front", "rear", "left", "right", "top")
Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stand:
    """How an object stands on a canvas: `heading` and `elevation` (of the camera over the ground) in radians, the
    origin's position (x, y) in pixels, `scale` in pixels per metre, and the direction of the light (in the object's
    axes)."""

    heading: float
    elevation: float
    x: float
    y: float
    scale: float
    sun: Point

    def place(self, point: Point) -> Place:
        lateral, forward, up = point
        across = lateral * math.cos(self.heading) + forward * math.sin(self.heading)
        near = forward * math.cos(self.heading) - lateral * math.sin(self.heading)
        down = near * math.sin(self.elevation) - up * math.cos(self.elevation)
        return self.x + across * self.scale, self.y + down * self.scale

    def nearness(self, point: Point) -> float:
        """Return how far towards the camera a point is, in metres."""
        near = point[1] * math.cos(self.heading) - point[0] * math.sin(self.heading)
        return near * math.cos(self.elevation) + point[2] * math.sin(self.elevation)


@dataclass(frozen=True, slots=True)
class Solid:
    """A box whose top may be narrower, shorter and inclined: rear and front end of its bottom and of its top (forward),
    heights of its bottom and of its top's rear and front, and half its width at the bottom and at the top."""

    bottom: tuple[float, float]
    top: tuple[float, float]
    base: float
    height: tuple[float, float]
    half: tuple[float, float]

    def face(self, name: str) -> list[Point]:
        """Return the four corners: (0, 0), (1, 0), (1, 1), (0, 1) of the face's own coordinates.

        On the sides the first coordinate goes from rear to front, on the ends from the right side to the left, on the
        top from right to left, the second from rear to front.
        """
        (rear, front), (top_rear, top_front) = self.bottom, self.top
        (at_rear, at_front), (wide, narrow), z = self.height, self.half, self.base
        if name in ("front", "rear"):
            low, high, up = (front, top_front, at_front) if name == "front" else (rear, top_rear, at_rear)
            return [(-wide, low, z), (wide, low, z), (narrow, high, up), (-narrow, high, up)]
        if name == "top":
            return [
                (-narrow, top_rear, at_rear), (narrow, top_rear, at_rear),
                (narrow, top_front, at_front), (-narrow, top_front, at_front),
            ]  # fmt: skip
        s = 1 if name == "left" else -1
        return [
            (s * wide, rear, z), (s * wide, front, z),
            (s * narrow, top_front, at_front), (s * narrow, top_rear, at_rear),
        ]  # fmt: skip


# Whether the corner order of a face makes its normal point out of the solid (1) or into it (-1).
_OUTSIDE = {"front": -1, "rear": 1, "left": 1, "right": -1, "top": 1}


@dataclass(frozen=True, slots=True)
class Facing:
    """A visible face: its corners on the canvas and its brightness."""

    pen: ImageDraw.ImageDraw
    corners: tuple[Place, Place, Place, Place]
    light: float

    def at(self, u: float, v: float) -> Place:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = self.corners
        p, q, r, s = (1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v
        return p * ax + q * bx + r * cx + s * dx, p * ay + q * by + r * cy + s * dy

    def fill(self, colour: Colour) -> None:
        self.pen.polygon(self.corners, fill=self.lit(colour))

    def quad(self, u0: float, v0: float, u1: float, v1: float, colour: Colour) -> None:
        self.patch([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], colour)

    def patch(self, points: list[Place], colour: Colour) -> None:
        """Draw a polygon in the face's own coordinates."""
        self.pen.polygon([self.at(u, v) for u, v in points], fill=self.lit(colour))

    def disc(self, u: float, v: float, across: float, up: float, colour: Colour) -> None:
        """Draw an ellipse with these half axes, in the face's own coordinates."""
        self.patch([(u + across * c, v + up * s) for c, s in _CIRCLE], colour)

    def lit(self, colour: Colour) -> Colour:
        red, green, blue = colour
        return min(255, int(red * self.light)), min(255, int(green * self.light)), min(255, int(blue * self.light))


_CIRCLE = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 14, endpoint=False)]


def facing(pen: ImageDraw.ImageDraw, stand: Stand, solid: Solid) -> dict[str, Facing]:
    """Return the visible faces of a solid, by name."""
    seen = {}
    for name in FACES:
        points = solid.face(name)
        corners = tuple(stand.place(point) for point in points)
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
        turn = (cx - ax) * (dy - by) - (cy - ay) * (dx - bx)
        if turn * _OUTSIDE[name] > 1e-6:
            seen[name] = Facing(pen, corners, _light(points, _OUTSIDE[name], stand.sun))  # type: ignore[arg-type]
    return seen


def _light(points: list[Point], outside: int, sun: Point) -> float:
    (ax, ay, az), (bx, by, bz), (cx, cy, cz), (dx, dy, dz) = points
    px, py, pz, qx, qy, qz = cx - ax, cy - ay, cz - az, dx - bx, dy - by, dz - bz
    nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
    length = math.sqrt(nx * nx + ny * ny + nz * nz) or 1.0
    cosine = outside * (nx * sun[0] + ny * sun[1] + nz * sun[2]) / length
    return 0.66 + 0.42 * max(0.0, cosine)


def wheel(
    pen: ImageDraw.ImageDraw,
    stand: Stand,
    centre: Point,
    radius: float,
    colour: Colour,
    parts: list[float] | None = None,
) -> None:
    """Draw an upright disc along the forward axis; with `parts`, only its sectors that start at these angles."""

    def rim(angle: float) -> Place:
        return stand.place((centre[0], centre[1] + radius * math.cos(angle), centre[2] + radius * math.sin(angle)))

    if parts is None:
        pen.polygon([rim(angle) for angle in np.linspace(0, 2 * math.pi, 18, endpoint=False)], fill=colour)
        return
    middle = stand.place(centre)
    for start in parts:
        pen.polygon([middle, rim(start), rim(start + 0.4)], fill=colour)
