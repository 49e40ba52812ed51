"""A striped, four-legged body in three dimensions: a trunk of elliptic sections, limbs, head and tail.

Points are (lateral, forward, up) in fractions of the trunk's length, lateral towards the left; the trunk goes from -0.5
(rump) to 0.5 (shoulder).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from crossreid.data.synthetic.animals import Animal, Stripe, Visit
from crossreid.data.synthetic.canvas import Colour, Point, View, between, darker, limb, scaled

# Sections of trunk and neck: forward, height of the middle, half the height, half the width.
_TRUNK = np.array([
    (-0.56, 0.62, 0.09, 0.07), (-0.5, 0.61, 0.16, 0.11), (-0.36, 0.6, 0.205, 0.145), (-0.15, 0.575, 0.2, 0.155),
    (0.1, 0.565, 0.215, 0.165), (0.3, 0.58, 0.235, 0.16), (0.45, 0.615, 0.215, 0.135), (0.56, 0.66, 0.17, 0.115),
    (0.66, 0.69, 0.14, 0.1),
])  # fmt: skip
_FINE = np.linspace(_TRUNK[0, 0], _TRUNK[-1, 0], 40)
# limb() draws a radius r as this many times r, because of people's garments.
_LIMB = 0.775


def draw_animal(canvas: Image.Image, who: Animal, seen: Visit, within: tuple[int, int, int, int]) -> None:
    """Draw a walking animal that fills the part `within` (left, top, right, bottom) of a canvas except for a margin,
    on its shadow."""
    at_left, at_top, at_right, at_bottom = within
    width, height = at_right - at_left, at_bottom - at_top
    heading = math.radians(seen.heading)
    build = who.build
    wide = (1.5 * build.length + 0.12) * abs(math.sin(heading)) + 0.28
    unit = seen.zoom * min(0.92 * width / wide, 0.86 * height / 1.0)
    drop = 0.34 * (1 - build.legs)
    ground = at_top + height * (0.5 + seen.shift_y) + unit * (0.44 - drop / 2)
    ahead = 0.06 * unit * math.sin(heading)  # the head reaches farther than the tail
    view = View(heading, at_left + width * (0.5 + seen.shift_x) - ahead, ground + drop * unit, unit)
    pen = ImageDraw.Draw(canvas)
    x, y = min(max(int(view.x), 0), canvas.width - 1), min(int(ground) + 2, canvas.height - 1)
    half = wide * 0.4 * unit
    shade = darker(canvas, (x, y), 0.55)
    pen.ellipse((view.x - half, ground - 0.05 * unit, view.x + half, ground + 0.05 * unit), fill=shade)
    side = -1 if math.sin(heading) > 0 else 1
    body = _Body(pen, who, view, side, drop)
    head_near = math.cos(heading) > 0
    gait = [(side, 1, 0.0), (side, -1, math.pi / 2)]
    far = [(-side, 1, math.pi), (-side, -1, 3 * math.pi / 2)]
    for which, end, lag in far:
        body.leg(which, end, seen.stride * math.sin(seen.phase + lag), 0.72)
    if head_near:
        body.tail(seen.tail_up)
        body.trunk()
    else:
        body.head(seen.nod)
        body.trunk()
        body.tail(seen.tail_up)
    for which, end, lag in gait:
        body.leg(which, end, seen.stride * math.sin(seen.phase + lag), 1.0)
    if head_near:
        body.head(seen.nod)


class _Body:
    """An animal on a canvas: its parts, drawn one by one. `side` (1 left, -1 right) is the flank that is seen."""

    def __init__(self, pen: ImageDraw.ImageDraw, who: Animal, view: View, side: int, drop: float) -> None:
        self.pen, self.who, self.view, self.side, self.drop = pen, who, view, side, drop
        columns = [np.interp(_FINE, _TRUNK[:, 0], _TRUNK[:, k]) for k in (1, 2, 3)]
        self.sections = (columns[0], columns[1] * who.build.girth, columns[2] * who.build.girth)
        self.stretch = who.build.length

    def on_flank(self, along: np.ndarray, around: np.ndarray) -> list[tuple[float, float]]:
        """Return the positions of points of the flank: `along` the trunk, at the angles `around` (0 back, 1 belly)."""
        forward = -0.52 + along * 1.14
        middle, tall, wide = (np.interp(forward, _FINE, values) for values in self.sections)
        angle = math.pi * around
        view = self.view
        lateral, up = self.side * wide * np.sin(angle), middle + tall * np.cos(angle)
        across = lateral * math.cos(view.heading) + forward * self.stretch * math.sin(view.heading)
        return list(zip((view.x + across * view.height).tolist(), (view.y - up * view.height).tolist(), strict=True))

    def trunk(self) -> None:
        coat, build = self.who.coat, self.who.build
        order = range(len(_FINE)) if math.cos(self.view.heading) > 0 else range(len(_FINE) - 1, -1, -1)
        lean, scale = abs(math.cos(self.view.heading)), self.view.height
        middle, tall, wide = self.sections
        step = 0.6 * (_FINE[1] - _FINE[0]) * scale
        for k in order:
            x, y = self.view.place((0, float(_FINE[k]) * self.stretch, float(middle[k])))
            across, up = wide[k] * lean * scale + step, tall[k] * scale
            self.pen.ellipse((x - across, y - up, x + across, y + up), fill=coat.back)
        grid = np.linspace(0, 1, 14)
        level = np.ones_like(grid)
        edge = self.on_flank(grid, build.belly + 0.06 * np.sin(9 * grid))
        self.pen.polygon(edge + self.on_flank(grid, 0.93 * level)[::-1], fill=scaled(coat.belly, 0.93))
        back = self.on_flank(grid, 0.0 * level) + self.on_flank(grid, 0.12 * level)[::-1]
        self.pen.polygon(back, fill=scaled(coat.back, 0.86))
        flank = self.who.flanks["left" if self.side > 0 else "right"]
        for stripe in flank:
            self.stripe(stripe)

    def stripe(self, stripe: Stripe) -> None:
        """Draw a lens along a bent line; a forked one has a second tip."""
        t = np.linspace(0, 1, 8)
        around = stripe.start + t * (stripe.end - stripe.start)
        full = 1 - t**2 if stripe.start == 0 else 1 - (2 * t - 1) ** 2
        half = stripe.width * (0.18 + 0.82 * full) * (0.8 if stripe.fork else 1)
        line = stripe.along + stripe.slant * t + stripe.waver * np.sin(2 * math.pi * t)
        for tip in (-0.028, 0.03) if stripe.fork else (0.0,):
            bent = line + tip * np.maximum(0.0, t - stripe.fork) / (1 - stripe.fork)
            outline = self.on_flank(bent - half, around) + self.on_flank(bent + half, around)[::-1]
            self.pen.polygon(outline, fill=self.who.coat.stripe)

    def leg(self, side: int, end: int, swing: float, light: float) -> None:
        """Draw a fore (`end` 1) or hind leg, its thigh or shoulder, and the bands on it."""
        build = self.who.build
        lateral = side * 0.085 * build.girth
        forward = (0.36 if end > 0 else -0.38) * self.stretch
        hip = (lateral, forward, 0.53)
        bend = 0.02 if end > 0 else -0.05
        knee = (lateral, forward + 0.09 * swing - bend, 0.31)
        heel = (lateral, forward + 0.15 * swing + (0.0 if end > 0 else -0.07), 0.14)
        foot = (lateral, forward + 0.17 * swing + 0.005, self.drop + 0.03)
        toe = (lateral, foot[1] + 0.055, self.drop + 0.022)
        fur, pale = scaled(self.who.coat.back, light * 0.96), scaled(self.who.coat.belly, light * 0.9)
        thick = (0.115 if end > 0 else 0.14) * build.girth * _LIMB
        self.limb([hip, knee], thick, 0.068, fur)
        self.limb([knee, heel, foot], 0.068, 0.048, fur)
        self.limb([foot, toe], 0.055, 0.042, pale)
        inner = scaled(self.who.coat.stripe, min(1.0, light + 0.1))
        for k in range(build.bands):
            at = 0.1 + 0.8 * k / max(build.bands, 1)
            # A band lies across the leg: at right angles to it, along the forward axis.
            centre = between(knee, heel, at * 2) if at < 0.5 else between(heel, foot, at * 2 - 1)
            wide = 0.03 if at < 0.5 else 0.024
            rear, front = centre[1] - wide, centre[1] + wide
            self.limb([(centre[0], rear, centre[2] + 0.008), (centre[0], front, centre[2])], 0.013, 0.009, inner)
        if side == self.side:
            for k in range(2 + build.bands % 2):
                centre = between(hip, knee, 0.3 + 0.28 * k)
                wide = thick * 0.62 * (1 - 0.25 * k)
                rear, front = centre[1] - wide, centre[1] + 0.4 * wide
                self.limb([(centre[0], rear, centre[2] + 0.02), (centre[0], front, centre[2])], 0.022, 0.012, inner)

    def limb(self, points: list[Point], start: float, end: float, fill: Colour) -> None:
        limb(self.pen, self.view, points, start, end, fill)

    def tail(self, up: float) -> None:
        build = self.who.build
        root = -0.52 * self.stretch
        t = np.linspace(0, 1, 26)
        back = root - build.tail * (0.34 * t)
        height = 0.63 - 0.36 * np.sin(np.pi * 0.62 * t) * (1.05 - 0.75 * up) + 0.22 * t**2 * (0.4 + up)
        points: list[Point] = [(0.0, float(b), float(h)) for b, h in zip(back, height, strict=True)]
        self.limb(points, 0.06, 0.04, self.who.coat.back)
        for k in range(build.rings):
            at = int(len(points) * (0.2 + 0.7 * k / build.rings))
            _, b, h = points[at]
            self.limb([(0.0, b - 0.008, h - 0.022), (0.0, b + 0.008, h + 0.022)], 0.012, 0.012, self.who.coat.stripe)
        self.limb(points[-2:], 0.036, 0.03, self.who.coat.stripe)

    def head(self, nod: float) -> None:
        """Draw head and muzzle, ears, cheeks; the face turns with the body."""
        build, coat = self.who.build, self.who.coat
        size = 0.135 * build.head
        neck = (0.0, 0.62 * self.stretch, 0.7)
        middle = (0.0, 0.76 * self.stretch, 0.73 + 0.05 * nod)
        self.limb([neck, middle], 0.155 * _LIMB * 1.5, 0.13 * _LIMB * 1.5, coat.back)
        for side in (-self.side, self.side):
            tall = {"round": 1.0, "small": 0.78, "notched": 1.1}[build.ears]
            ear = (side * 0.6 * size, middle[1] - 0.25 * size, middle[2] + 0.95 * size)
            self.ball(ear, 0.36 * size * tall, coat.stripe)
            self.ball((ear[0], ear[1] + 0.1 * size, ear[2]), 0.2 * size * tall, coat.belly)
        self.ball(middle, size, coat.back)
        jaw = (self.side * 0.35 * size, middle[1] + 0.3 * size, middle[2] - 0.5 * size)
        self.ball(jaw, (0.45 + 0.2 * build.ruff) * size, coat.belly)
        muzzle = (0.0, middle[1] + 0.95 * size, middle[2] - 0.32 * size)
        self.limb([middle, muzzle], size * 0.72 * _LIMB, size * 0.5 * _LIMB * 1.2, coat.back)
        self.ball((0.0, muzzle[1], muzzle[2] - 0.1 * size), 0.4 * size, coat.belly)
        self.ball((0.0, muzzle[1] + 0.32 * size, muzzle[2] + 0.1 * size), 0.13 * size, (92, 52, 46))
        eye = (self.side * 0.42 * size, middle[1] + 0.55 * size, middle[2] + 0.22 * size)
        self.ball((eye[0], eye[1], eye[2] + 0.12 * size), 0.2 * size, coat.belly)
        self.ball(eye, 0.12 * size, coat.stripe)
        for k in range(3):
            top = (self.side * 0.5 * size, middle[1] - (0.1 + 0.3 * k) * size, middle[2] + (0.75 - 0.25 * k) * size)
            low = (top[0] * 1.2, top[1] - 0.12 * size, top[2] - 0.75 * size)
            self.limb([top, low], 0.14 * size, 0.07 * size, coat.stripe)

    def ball(self, centre: Point, radius: float, fill: Colour) -> None:
        x, y = self.view.place(centre)
        r = radius * self.view.height
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
