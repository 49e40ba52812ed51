"""Who the striped animals are, and what differs between two images of one.

An animal has a different pattern on each flank, so views of both flanks hold more information than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.data.synthetic.factors import named_factors

LEFT, RIGHT = "left", "right"
EARS = ("round", "small", "notched")


@dataclass(frozen=True, slots=True)
class Stripe:
    """One stripe of a flank: where it starts `along` the body (0 rump, 1 shoulder), from which angle off the back to
    which it runs (0 back, 1 belly), its width and slant along the body, how it wavers, and where it forks (0
    nowhere)."""

    along: float
    start: float
    end: float
    width: float
    slant: float
    waver: float
    fork: float


@dataclass(frozen=True, slots=True)
class Build:
    """Measures as factors of an average animal's, and the pattern; `rings` are on the tail, `bands` on the legs."""

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
        """Return every factor by name, prefixed by who would see it: build in any light, coat colours in visible light.

        For a flank's pattern these are the positions of its stripes along the body, in hundredths.
        """
        named = named_factors(shared=self.build, visible=self.coat)
        for flank, stripes in self.flanks.items():
            named[f"shared_{flank}_stripes"] = " ".join(f"{100 * stripe.along:.0f}" for stripe in stripes)
        return named


@dataclass(frozen=True, slots=True)
class Visit:
    """What differs between two images of one animal, except identity. Angles in degrees; `flank`: the visible one."""

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


def animal(seed: int, identity: int) -> Animal:
    """Return the animal `identity` of the world `seed`: the same whatever else is in that world."""
    shape, colour, left, right = (np.random.default_rng((seed, identity, stream)) for stream in (31, 32, 33, 34))
    build = _build(shape)
    return Animal(build, _coat(colour), {LEFT: _stripes(left, build), RIGHT: _stripes(right, build)})


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
