"""Cut-outs of people: a walking person seen from one side at one moment of a step, drawn once and cached.

Headings and phases are rounded to a few values, so a video needs each drawing once; a frame scales it by distance.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from PIL import Image

from crossreid.data.synthetic.canvas import View
from crossreid.data.synthetic.people import Person
from crossreid.data.synthetic.people import person as person_of
from crossreid.data.synthetic.people_body import draw_body
from crossreid.data.synthetic.people_images import colours_of
from crossreid.data.synthetic.scenes import OVER

# Height in pixels of a body of stature 1; the canvas leaves room for hair, hats, arms and bags.
BODY = 160
CANVAS = (round(0.86 * BODY), round(1.16 * BODY))
FEET = (0.5 * CANVAS[0], 1.10 * BODY)
HEADINGS, PHASES = 24, 8
STANDING = -1


@dataclass(frozen=True, slots=True)
class Pose:
    """A heading in steps of 360 / HEADINGS degrees, and a phase in units of 1 / PHASES of a step, or `STANDING`."""

    heading: int
    phase: int


def pose(heading: float, walked: float | None) -> Pose:
    """Return the nearest pose. `heading` in radians, 0 towards the camera; `walked` in strides, None if standing."""
    turned = round(heading / (2 * math.pi) * HEADINGS) % HEADINGS
    return Pose(turned, STANDING if walked is None else math.floor(walked * PHASES) % PHASES)


@functools.lru_cache(maxsize=1024)
def sprite(seed: int, identity: int, infrared: bool, posed: Pose) -> Image.Image:
    """Return an RGBA image of `CANVAS` pixels, feet at `FEET`. In infrared light, its three channels are equal."""
    who = _person(seed, identity)
    size = (CANVAS[0] * OVER, CANVAS[1] * OVER)
    stride, phase = (0.12, 0.6) if posed.phase == STANDING else (0.8, 2 * math.pi * posed.phase / PHASES)
    view = View(
        2 * math.pi * posed.heading / HEADINGS, FEET[0] * OVER, FEET[1] * OVER, BODY * OVER * who.shared.stature
    )
    body, cover = Image.new("RGB", size), Image.new("RGB", size)
    draw_body(body, who.shared, view, phase, stride, colours_of(who, infrared))
    draw_body(cover, who.shared, view, phase, stride, lambda _: (255, 255, 255))
    # Everything is drawn in white or light shades, never black, so the body is wherever it is not black.
    body.putalpha(cover.convert("L").point(lambda level: 255 if level else 0))
    # Pillow weights colours by opacity, so edges are half transparent and not dark.
    return body.reduce(OVER)


@functools.lru_cache(maxsize=256)
def _person(seed: int, identity: int) -> Person:
    return person_of(seed, identity)
