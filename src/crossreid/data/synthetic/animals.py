"""Striped animals, and the camera traps that see them from the side.

An animal has a pattern of its own on each flank: views of both know more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.animal_body import draw_animal
from crossreid.data.synthetic.cameras import Camera, nuisance
from crossreid.data.synthetic.people import named_factors
from crossreid.data.synthetic.render import OVER, backdrop, expose, occlude

LEFT, RIGHT = "left", "right"
EARS = ("round", "small", "notched")


@dataclass(frozen=True, slots=True)
class Stripe:
    """One stripe of a flank: where it starts `along` the body (0 rump, 1 shoulder), from which angle off the back to
    which it runs (0 back, 1 belly), its width and slant along the body, how it wavers, and where it forks (0 nowhere)."""

    along: float
    start: float
    end: float
    width: float
    slant: float
    waver: float
    fork: float


@dataclass(frozen=True, slots=True)
class Build:
    """Measures as factors of an average animal's, and the pattern; `rings` are those of the tail, `bands` of the legs."""

    length: float
    girth: float
    legs: float
    head: float
    tail: float
    belly: float
    ears: str
    stripes: int
    stripe_width: float
    rings: int
    bands: int
    ruff: float


@dataclass(frozen=True, slots=True)
class Coat:
    """Colours, RGB in [0, 255]."""

    back: tuple[int, int, int]
    belly: tuple[int, int, int]
    stripe: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Animal:
    build: Build
    coat: Coat
    flanks: dict[str, tuple[Stripe, ...]]

    def factors(self) -> dict[str, str | float]:
        """Every factor by name, prefixed by who would see it: build in any light, coat colours in visible light.

        Of a flank's pattern the places of its stripes along the body, in hundredths.
        """
        named = named_factors(shared=self.build, visible=self.coat)
        for flank, stripes in self.flanks.items():
            named[f"shared_{flank}_stripes"] = " ".join(f"{100 * stripe.along:.0f}" for stripe in stripes)
        return named


@dataclass(frozen=True, slots=True)
class Visit:
    """What differs between two images of one animal: nothing here says which it is. Angles in degrees; `flank` is seen."""

    heading: float
    flank: str
    phase: float
    stride: float
    nod: float
    tail_up: float
    zoom: float
    shift_x: float
    shift_y: float
    light: float
    blur: float
    occlusion: str
    occlusion_at: float
    backdrop: int


def _camera(
    number: int, scene: str, heading: float, spread: float, light: float, tint: tuple[float, float, float],
    blur: float, noise: float, occlusion: float,
) -> Camera:  # fmt: skip
    return Camera(number, Modality.VISIBLE, scene, heading, spread, 1.0, light, tint, blur, noise, occlusion)


# At heading 90 an animal walks to the right and shows its right flank, at 270 to the left.
CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        _camera(1, "forest", 90, 30, 1.00, (1.00, 1.00, 0.96), 0.5, 4, 0.15),
        _camera(2, "clearing", 270, 40, 1.08, (1.04, 1.00, 0.92), 0.4, 3, 0.10),
        _camera(3, "snow", 75, 25, 0.92, (0.94, 1.00, 1.08), 0.6, 4, 0.08),
        _camera(4, "park", 285, 25, 0.80, (0.98, 1.03, 0.96), 0.8, 6, 0.15),
        _camera(5, "forest", 270, 40, 0.66, (1.02, 1.00, 0.98), 1.0, 9, 0.18),
    )
}
# How often an animal goes along a camera's path the other way, and shows it the other flank.
_OTHER_WAY = 0.3


def animal(seed: int, identity: int) -> Animal:
    """The animal `identity` of the world `seed`: the same whatever else is in that world."""
    shape, colour, left, right = (np.random.default_rng((seed, identity, stream)) for stream in (31, 32, 33, 34))
    build = _build(shape)
    return Animal(build, _coat(colour), {LEFT: _stripes(left, build), RIGHT: _stripes(right, build)})


def image_of(
    who: Animal, seed: int, identity: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, Visit]:
    """Image `index` of an animal by camera `number`, `(height, width, 3)` uint8, and its nuisance factors.

    A function of these numbers alone. The animal fills the image as a detector's crop would: square or wide sizes suit it.
    """
    camera, draw = CAMERAS[number], np.random.default_rng((seed, identity, number, index, 3))
    seen = _visit(camera, draw)
    canvas = backdrop(camera, seen.backdrop, (size[0] * OVER, size[1] * OVER))
    draw_animal(canvas, who, seen, (0, 0, *canvas.size))
    occlude(canvas, seen, camera)
    return expose(canvas.reduce(OVER), camera, seen, draw), seen


def wild_image_of(
    sightings: Sequence[tuple[Animal, int]], seed: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """A whole picture `(height, width, 3)` uint8 of camera `number` with animals here and there, side by side.

    Args:
        sightings: the animals and their identities, from left to right.

    Returns:
        the picture, and a box (left, top, right, bottom) in pixels around each animal.
    """
    height, width = size
    camera, draw = CAMERAS[number], np.random.default_rng((seed, sightings[0][1], number, index, 4))
    visits = [_visit(camera, draw) for _ in sightings]
    canvas = backdrop(camera, visits[0].backdrop, (height * OVER, width * OVER))
    boxes = []
    column = width // len(sightings)
    for place, ((who, _), seen) in enumerate(zip(sightings, visits, strict=True)):
        side = int(min(column, height) * draw.uniform(0.55, 0.85))
        left = place * column + int(draw.uniform(0, column - side))
        tall = int(0.72 * side)
        top = int(draw.uniform(0.5, 1.0) * (height - tall))
        box = (left, top, left + side, top + tall)
        draw_animal(canvas, who, seen, (box[0] * OVER, box[1] * OVER, box[2] * OVER, box[3] * OVER))
        boxes.append(box)
    return expose(canvas.reduce(OVER), camera, visits[0], draw), boxes


def _visit(camera: Camera, draw: np.random.Generator) -> Visit:
    common = nuisance(camera, draw)
    heading = common.heading if draw.random() >= _OTHER_WAY else round((common.heading + 180) % 360, 1)
    return Visit(
        heading=heading,
        flank=RIGHT if heading < 180 else LEFT,
        phase=common.phase,
        stride=common.stride,
        nod=round(float(draw.uniform(-1, 1)), 3),
        tail_up=round(float(draw.uniform(0, 1)), 3),
        zoom=common.zoom,
        shift_x=common.shift_x,
        shift_y=common.shift_y,
        light=common.light,
        blur=common.blur,
        occlusion=common.occlusion,
        occlusion_at=common.occlusion_at,
        backdrop=common.backdrop,
    )


def _build(draw: np.random.Generator) -> Build:
    def factor(low: float, high: float) -> float:
        return round(float(draw.uniform(low, high)), 3)

    return Build(
        length=factor(0.92, 1.08),
        girth=factor(0.85, 1.2),
        legs=factor(0.74, 0.98),
        head=factor(0.9, 1.12),
        tail=factor(0.85, 1.15),
        belly=factor(0.55, 0.85),
        ears=str(draw.choice(EARS)),
        stripes=int(draw.integers(9, 17)),
        stripe_width=factor(0.6, 1.3),
        rings=int(draw.integers(4, 9)),
        bands=int(draw.integers(1, 5)),
        ruff=factor(0.0, 1.0),
    )


def _coat(draw: np.random.Generator) -> Coat:
    tone, pale = float(draw.uniform(0.82, 1.08)), float(draw.uniform(0, 0.35))
    back = tuple(
        int(min(255, (base + (rest - base) * pale) * tone))
        for base, rest in zip((206, 128, 52), (214, 176, 122), strict=True)
    )
    belly = int(draw.integers(205, 240))
    dark = int(draw.integers(18, 52))
    return Coat((back[0], back[1], back[2]), (belly, belly - 6, belly - 20), (dark + 8, dark, dark - 6))


def _stripes(draw: np.random.Generator, build: Build) -> tuple[Stripe, ...]:
    places = (np.arange(build.stripes) + draw.uniform(0.12, 0.88, build.stripes)) / build.stripes
    stripes = []
    for along in places:
        begins_low = draw.random() < 0.25
        stripes.append(
            Stripe(
                along=round(float(along), 3),
                start=round(float(draw.uniform(0.25, 0.45)), 3) if begins_low else 0.0,
                end=round(float(draw.uniform(0.72, 1.0) if begins_low else draw.uniform(0.35, 0.95)), 3),
                width=round(float(draw.uniform(0.014, 0.034)) * build.stripe_width * 12 / build.stripes, 4),
                slant=round(float(draw.normal(0, 0.05)), 4),
                waver=round(float(draw.normal(0, 0.022)), 4),
                fork=round(float(draw.uniform(0.35, 0.7)), 3) if draw.random() < 0.35 else 0.0,
            )
        )
    return tuple(stripes)
