"""Who is where when: people walk from gate to gate of the sites and through the streets between them.

A walk is drawn from only (seed, identity, day). In a site, a person walks along a curve from one gate to another, at
their own pace, and stands still for a moment now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossreid.data.synthetic.city.places import SITES, STREETS, Place

# People's paces in metres per second; a visit's pace is within a tenth of its person's.
SLOWEST, FASTEST = 1.0, 1.5
PACES = (0.9 * SLOWEST, 1.1 * FASTEST)
# Seconds that people stay at home, in streets that no camera sees, before they come out again.
HOME = (20.0, 60.0)
# Points along the curve that a person walks in a site.
STEPS = 64
# Metres per stride: the legs swing once to and fro.
STRIDE = 1.35


@dataclass(frozen=True, eq=False, slots=True)
class Visit:
    """A person's way through a site: `places (STEPS, 2)`, reached after `lengths (STEPS,)` metres, from `start` in
    seconds.

    After `rest_at` metres the person stands still for `rest` seconds.
    """

    identity: int
    site: str
    start: float
    pace: float
    rest_at: float
    rest: float
    places: np.ndarray
    lengths: np.ndarray

    @property
    def end(self) -> float:
        return self.start + float(self.lengths[-1]) / self.pace + self.rest

    def walked(self, time: float) -> float:
        """Return the metres from the gate at a time within the visit."""
        before = (time - self.start) * self.pace
        if before <= self.rest_at:
            return before
        return max(self.rest_at, before - self.rest * self.pace)

    def rests(self, time: float) -> bool:
        return self.rest > 0 and 0 < time - self.start - self.rest_at / self.pace < self.rest

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the position `(2,)` at a time, and the walking direction `(2,)`, of length 1."""
        walked = self.walked(time)
        place = np.array([np.interp(walked, self.lengths, self.places[:, axis]) for axis in (0, 1)])
        step = min(max(int(np.searchsorted(self.lengths, walked)), 1), STEPS - 1)
        way = self.places[step] - self.places[step - 1]
        return place, way / (np.hypot(*way) or 1.0)


def visits_of(seed: int, identity: int, seconds: float, day: int = 0) -> list[Visit]:
    """Return all visits of one person on one day that begin before `seconds`, in order."""
    return list(_walk(np.random.default_rng((seed, identity, 31, day)), identity, seconds))


def _walk(draw: np.random.Generator, identity: int, seconds: float) -> Iterator[Visit]:
    pace = draw.uniform(SLOWEST, FASTEST)
    time = draw.uniform(-8, 0.5 * seconds)
    site = str(draw.choice(list(SITES)))
    entry = str(draw.choice(list(SITES[site].gates)))
    before_home = int(draw.integers(3, 9))
    while time < seconds:
        leaving = str(draw.choice([gate for gate in SITES[site].gates if gate != entry]))
        visit = _visit(draw, identity, site, (entry, leaving), time, pace)
        yield visit
        street = next(street for street in STREETS if (site, leaving) in (street.one, street.other))
        time = visit.end + street.length / (pace * draw.uniform(0.9, 1.1))
        site, entry = street.other if (site, leaving) == street.one else street.one
        before_home -= 1
        if not before_home:  # a home in this street, which can be left at either end
            time += draw.uniform(*HOME)
            site, entry = street.one if draw.random() < 0.5 else street.other
            before_home = int(draw.integers(3, 9))


def _visit(
    draw: np.random.Generator, identity: int, site: str, gates: tuple[str, str], time: float, pace: float
) -> Visit:
    first, last = (_near(draw, *SITES[site].gates[gate], gate) for gate in gates)
    middle = (draw.uniform(-1.5, 1.5), draw.uniform(0.2, 4.0))
    places = _curve(first, middle, last)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    return Visit(
        identity,
        site,
        time,
        pace * draw.uniform(0.9, 1.1),
        rest_at=float(lengths[-1]) * draw.uniform(0.35, 0.65),
        rest=draw.uniform(1, 3) if draw.random() < 0.15 else 0.0,
        places=places,
        lengths=lengths,
    )


def _near(draw: np.random.Generator, x: float, y: float, gate: str) -> Place:
    """Draw a point near a gate: a gate in a wall is narrow, a street that leaves the view at a side is wide."""
    return (x + draw.uniform(-0.4, 0.4), y) if gate == "north" else (x, y + draw.uniform(-1.8, 1.8))


def _curve(first: Place, middle: Place, last: Place) -> np.ndarray:
    """Return a quadratic Bézier curve that passes `middle` half way."""
    a, b, c = (np.array(place) for place in (first, middle, last))
    control = 2 * b - (a + c) / 2
    t = np.linspace(0, 1, STEPS)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * c
