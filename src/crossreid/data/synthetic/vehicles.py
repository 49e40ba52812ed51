"""Who the vehicles are, and what differs between two images of one.

Many details show only from some sides (on the roof, on one side, at the rear), so several views of a vehicle hold more
information than one.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from crossreid.data.readers.veri_776 import COLOURS, TYPES
from crossreid.data.synthetic.factors import named_factors

ROOFS = ("plain", "sunroof", "rails", "box", "beacon", "sign")
SIDES = ("plain", "stripe", "two stripes", "lettering", "lower panel", "badge", "wave")
RIMS = ("five spokes", "ten spokes", "disc", "dark", "cross")
GRILLES = ("bars", "mesh", "chrome", "slit")
LAMPS = ("round", "slim", "square")
TAILS = ("corners", "upright", "band")
STICKERS = ("none", "left", "right", "row", "wide")
REARS = ("plain", "spoiler", "spare wheel", "wiper")
SPOTS = ("none", "left", "right", "front", "rear")
PLATES = ("blue", "yellow", "white")

# Hue range, saturation range and brightness range of each named colour.
_PAINTS = {
    "yellow": ((0.135, 0.165), (0.7, 0.95), (0.8, 0.95)),
    "orange": ((0.055, 0.085), (0.8, 0.95), (0.8, 0.95)),
    "green": ((0.28, 0.44), (0.45, 0.8), (0.3, 0.6)),
    "gray": ((0.55, 0.66), (0.02, 0.1), (0.36, 0.6)),
    "red": ((-0.02, 0.015), (0.7, 0.92), (0.5, 0.8)),
    "blue": ((0.56, 0.67), (0.55, 0.9), (0.35, 0.75)),
    "white": ((0.1, 0.6), (0.0, 0.05), (0.86, 0.98)),
    "golden": ((0.1, 0.125), (0.3, 0.5), (0.62, 0.78)),
    "brown": ((0.03, 0.08), (0.45, 0.65), (0.25, 0.42)),
    "black": ((0.5, 0.7), (0.05, 0.25), (0.08, 0.17)),
}


@dataclass(frozen=True, slots=True)
class Form:
    """The shape and fittings of a vehicle. `length` and `height` scale its type's; `papers` counts the labels behind
    the windscreen, `papers_left` gives their side; `mark_at` is how high a side's mark lies; marks differ by side."""

    type: str
    length: float
    height: float
    roof: str
    left: str
    right: str
    mark_at: float
    letters: int
    rims: str
    grille: str
    lamps: str
    tail: str
    sticker: str
    rear: str
    papers: int
    papers_left: bool
    damage: str
    damage_at: float
    bumper: str
    panelled: bool


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours: the name in the data set, and RGB in [0, 255] of each part."""

    colour: str
    body: tuple[int, int, int]
    mark: tuple[int, int, int]
    roof: tuple[int, int, int]
    cargo: tuple[int, int, int]
    glass: tuple[int, int, int]
    sticker: tuple[int, int, int]
    plate: str


@dataclass(frozen=True, slots=True)
class Vehicle:
    form: Form
    paint: Paint

    def factors(self) -> dict[str, str | float]:
        """Return every factor by name, prefixed by who would see it: form in any light, paint in visible light."""
        return named_factors(shared=self.form, visible=self.paint)


@dataclass(frozen=True, slots=True)
class Passing:
    """What differs between two images of one vehicle, without identity. Angles in degrees."""

    heading: float
    elevation: float
    turn: float
    sun: float
    zoom: float
    shift_x: float
    shift_y: float
    light: float
    blur: float
    occlusion: str
    occlusion_at: float
    backdrop: int


def vehicle(seed: int, identity: int) -> Vehicle:
    """Return the vehicle `identity` of the world `seed`: the same whatever else is in that world."""
    form, paint = (np.random.default_rng((seed, identity, stream)) for stream in (21, 22))
    return Vehicle(_form(form), _paint(paint))


def _form(draw: np.random.Generator) -> Form:
    def one(choices: tuple[str, ...], first: float | None = None) -> str:
        """Draw one of them; `first` is the share of the first one, if it differs from the others'."""
        rest = len(choices) - 1
        shares = None if first is None else (first, *((1 - first) / rest,) * rest)
        return str(draw.choice(choices, p=shares))

    return Form(
        type=str(draw.choice(TYPES, p=(0.26, 0.15, 0.12, 0.12, 0.08, 0.06, 0.05, 0.1, 0.06))),
        length=round(float(draw.uniform(0.94, 1.07)), 3),
        height=round(float(draw.uniform(0.95, 1.06)), 3),
        roof=one(ROOFS, 0.35),
        left=one(SIDES, 0.3),
        right=one(SIDES, 0.3),
        mark_at=round(float(draw.uniform(0.15, 0.6)), 3),
        letters=int(draw.integers(3, 9)),
        rims=one(RIMS),
        grille=one(GRILLES),
        lamps=one(LAMPS),
        tail=one(TAILS),
        sticker=one(STICKERS, 0.35),
        rear=one(REARS, 0.4),
        papers=int(draw.integers(0, 5)),
        papers_left=bool(draw.random() < 0.5),
        damage=one(SPOTS, 0.4),
        damage_at=round(float(draw.uniform(0.1, 0.9)), 3),
        bumper=one(("painted", "black", "chrome"), 0.5),
        panelled=bool(draw.random() < 0.5),
    )


def _paint(draw: np.random.Generator) -> Paint:
    # White, black and gray are frequent on roads: colour alone distinguishes few vehicles.
    name = str(draw.choice(COLOURS, p=(0.09, 0.04, 0.06, 0.15, 0.12, 0.12, 0.2, 0.05, 0.05, 0.12)))
    body = _shade(draw, name)
    other = _shade(draw, str(draw.choice([colour for colour in COLOURS if colour != name])))
    dark = int(draw.integers(22, 62))
    return Paint(
        colour=name,
        body=body,
        mark=other,
        roof=body if draw.random() < 0.75 else (30, 30, 33),
        cargo=body
        if draw.random() < 0.3
        else _shade(draw, str(draw.choice(("white", "gray", "blue", "green", "red")))),
        glass=(dark, dark + 8, dark + 14),
        sticker=_shade(draw, str(draw.choice(("white", "yellow", "red", "orange", "green")))),
        plate=str(draw.choice(PLATES, p=(0.6, 0.25, 0.15))),
    )


def _shade(draw: np.random.Generator, name: str) -> tuple[int, int, int]:
    hue, saturation, value = (float(draw.uniform(low, high)) for low, high in _PAINTS[name])
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)
