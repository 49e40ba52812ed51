"""One image of one person by one camera: a scene, a body, then the effect of the sensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from crossreid.data.records import Modality
from crossreid.data.synthetic.cameras import CAMERAS, Camera, Nuisance, nuisance
from crossreid.data.synthetic.canvas import Colour, View, darker
from crossreid.data.synthetic.people import Person
from crossreid.data.synthetic.people_body import draw_body
from crossreid.data.synthetic.scenes import OVER, backdrop, expose, occlude

SKIN_INFRARED = 0.82


def render(
    person: Person, camera: Camera, seen: Nuisance, draw: np.random.Generator, size: tuple[int, int]
) -> np.ndarray:
    """Return `(height, width, 3)` uint8. An infrared image is grey, its three channels equal."""
    height, width = size
    canvas = backdrop(camera, seen.backdrop, (height * OVER, width * OVER))
    infrared = camera.modality == Modality.INFRARED
    body = person.shared.stature * seen.zoom * 0.93 * camera.tilt * height * OVER
    feet = (0.955 + seen.shift_y) * height * OVER
    view = View(math.radians(seen.heading), (0.5 + seen.shift_x) * width * OVER, feet, body)
    shade = ImageDraw.Draw(canvas)
    ground = darker(canvas, (int(view.x) % canvas.width, canvas.height - 2), 0.6)
    shade.ellipse((view.x - 0.2 * body, feet - 0.02 * body, view.x + 0.2 * body, feet + 0.03 * body), fill=ground)

    draw_body(canvas, person.shared, view, seen.phase, seen.stride, colours_of(person, infrared))
    occlude(canvas, seen, camera)
    return expose(canvas.reduce(OVER), camera, seen, draw)


def colours_of(person: Person, infrared: bool) -> Callable[[str], Colour]:
    """Return a function from body part to colour. Infrared light has no hues: its three channels are equal."""

    def colour(part: str) -> Colour:
        if not infrared:
            return getattr(person.visible, part)
        level = SKIN_INFRARED if part == "skin" else getattr(person.infrared, part)
        return (int(255 * level),) * 3

    return colour


def image_of(
    person: Person, seed: int, identity: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, Nuisance]:
    """Return image `index` of a person by camera `number`, and its nuisance factors, which depend only on these."""
    draw = np.random.default_rng((seed, identity, number, index))
    camera = CAMERAS[number]
    seen = nuisance(camera, draw)
    return render(person, camera, seen, draw, size), seen
