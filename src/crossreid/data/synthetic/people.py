"""Who the synthetic people are: factors of identity that both modalities show, and those that only one shows.

`Shared` is what a cross-modal model can match by. `VisibleOnly` (hues) and `InfraredOnly` (how much near-infrared light
each garment reflects, which depends on dyes and not on hues) are drawn from separate streams, so that neither reveals
anything about the other.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from crossreid.data.synthetic.factors import named_factors

HAIR = ("short", "long", "bald", "bun", "curly")
TOPS = ("t-shirt", "shirt", "jacket", "coat", "vest")
BOTTOMS = ("trousers", "shorts", "skirt", "long skirt", "wide trousers")
PATTERNS = ("plain", "rings", "bars", "checks", "chest band", "logo", "two-tone")
LEG_PATTERNS = ("plain", "side stripe", "knee patch", "rings")
BAGS = ("none", "backpack", "shoulder bag", "handbag")
HATS = ("none", "cap", "beanie", "brim")
GARMENTS = ("top", "bottom", "shoes", "bag", "hat")


@dataclass(frozen=True, slots=True)
class Shared:
    """What both modalities show. Lengths are fractions of body height; a contrast c scales a garment's brightness."""

    stature: float
    build: float
    leg_ratio: float
    shoulder: float
    hair: str
    top: str
    bottom: str
    top_pattern: str
    top_scale: int
    top_contrast: float
    leg_pattern: str
    leg_contrast: float
    bag: str
    hat: str


@dataclass(frozen=True, slots=True)
class VisibleOnly:
    """Colours, RGB in [0, 255]."""

    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    shoes: tuple[int, int, int]
    bag: tuple[int, int, int]
    hat: tuple[int, int, int]
    hair: tuple[int, int, int]
    skin: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class InfraredOnly:
    """Reflectance in near-infrared light, in [0, 1]."""

    top: float
    bottom: float
    shoes: float
    bag: float
    hat: float
    hair: float


@dataclass(frozen=True, slots=True)
class Person:
    shared: Shared
    visible: VisibleOnly
    infrared: InfraredOnly

    def factors(self) -> dict[str, str | float]:
        """Return every factor by name, prefixed by who sees it; colours as `#rrggbb`."""
        return named_factors(shared=self.shared, visible=self.visible, infrared=self.infrared)


def person(seed: int, identity: int) -> Person:
    """Return the person `identity` of the world `seed`: the same whatever else is in that world."""
    shared, visible, infrared = (np.random.default_rng((seed, identity, stream)) for stream in (11, 12, 13))
    return Person(_shared(shared), _visible(visible), _infrared(infrared))


def _shared(draw: np.random.Generator) -> Shared:
    return Shared(
        stature=round(float(draw.uniform(0.84, 1.0)), 3),
        build=round(float(draw.uniform(0.8, 1.35)), 3),
        leg_ratio=round(float(draw.uniform(0.44, 0.52)), 3),
        shoulder=round(float(draw.uniform(0.105, 0.135)), 4),
        hair=str(draw.choice(HAIR)),
        top=str(draw.choice(TOPS)),
        bottom=str(draw.choice(BOTTOMS)),
        top_pattern=str(draw.choice(PATTERNS)),
        top_scale=int(draw.integers(2, 6)),
        top_contrast=float(draw.choice((0.45, 1.8))),
        leg_pattern=str(draw.choice(LEG_PATTERNS)),
        leg_contrast=float(draw.choice((0.5, 1.8))),
        bag=str(draw.choice(BAGS)),
        hat=str(draw.choice(HATS, p=(0.4, 0.2, 0.2, 0.2))),
    )


def _visible(draw: np.random.Generator) -> VisibleOnly:
    tone = draw.uniform(0.35, 1.0)
    hair = draw.choice(((30, 25, 22), (70, 45, 28), (150, 110, 60), (120, 118, 115)))
    return VisibleOnly(
        **{garment: _dye(draw) for garment in GARMENTS},
        hair=(int(hair[0]), int(hair[1]), int(hair[2])),
        skin=(int(232 * tone), int(188 * tone), int(160 * tone)),
    )


def _dye(draw: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(draw.uniform(), draw.uniform(0.1, 0.9), draw.uniform(0.25, 0.85))
    return int(255 * red), int(255 * green), int(255 * blue)


def _infrared(draw: np.random.Generator) -> InfraredOnly:
    return InfraredOnly(
        **{garment: round(float(draw.uniform(0.25, 0.8)), 3) for garment in GARMENTS},
        hair=round(float(draw.uniform(0.15, 0.4)), 3),
    )
