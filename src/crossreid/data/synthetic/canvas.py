"""Tools for drawing bodies: colours, points in three dimensions, their projection onto a canvas, and limbs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class View:
    """Where a body stands on a canvas: turned by `heading` (radians), feet at (x, y), `height` pixels tall."""

    heading: float
    x: float
    y: float
    height: float

    def place(self, point: Point) -> tuple[float, float]:
        lateral, forward, up = point
        across = lateral * math.cos(self.heading) + forward * math.sin(self.heading)
        return self.x + across * self.height, self.y - up * self.height

    def depth(self, point: Point) -> float:
        return point[1] * math.cos(self.heading) - point[0] * math.sin(self.heading)

    def half_width(self, lateral: float, forward: float) -> float:
        """Return half the visible width, in pixels, of an ellipse with these half axes."""
        return self.height * math.hypot(lateral * math.cos(self.heading), forward * math.sin(self.heading))


def limb(draw: ImageDraw.ImageDraw, view: View, points: list[Point], start: float, end: float, fill: Colour) -> None:
    """Draw a chain of segments with round joints; half its width goes from `start` to `end` (of the height)."""
    places = [view.place(point) for point in points]
    radii = np.linspace(start, end, len(points)) * view.height * 0.5 * 1.55
    for (x0, y0), (x1, y1), r0, r1 in zip(places, places[1:], radii, radii[1:], strict=False):
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = (y1 - y0) / length, -(x1 - x0) / length
        draw.polygon(
            [(x0 + nx * r0, y0 + ny * r0), (x1 + nx * r1, y1 + ny * r1), (x1 - nx * r1, y1 - ny * r1), (x0 - nx * r0, y0 - ny * r0)],
            fill=fill,
        )  # fmt: skip
    for (x, y), r in zip(places, radii, strict=True):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def between(a: Point, b: Point, at: float) -> Point:
    return a[0] + (b[0] - a[0]) * at, a[1] + (b[1] - a[1]) * at, a[2] + (b[2] - a[2]) * at


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker (factor < 1) or lighter, such that light pattern parts of dark cloth stay visible."""
    if factor > 1:
        return tuple(int(min(255, c * factor + 30)) for c in colour)  # type: ignore[return-value]
    return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]


def darker(canvas: Image.Image, spot: tuple[int, int], factor: float) -> Colour:
    """Return the colour at a spot of an RGB canvas, scaled."""
    red, green, blue = canvas.getpixel(spot)  # type: ignore[misc]
    return int(red * factor), int(green * factor), int(blue * factor)
