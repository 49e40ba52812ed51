"""How soon somebody who left one camera's view can be in another's: the topology of the city's plan."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from crossreid.data.synthetic.city.places import CAMERAS, STREETS
from crossreid.data.synthetic.city.walking import HOME, PACES

# The fewest metres that a person walks through a site between two gates, and the most outside of a view on either side.
_THROUGH, _UNSEEN = 6.0, 12.0


@dataclass(frozen=True, slots=True)
class Reach:
    """From one camera to another, either way: the same people at once, or seconds between; `most` is None if others are
    in between, so that nothing limits the time."""

    one: str
    other: str
    overlap: bool
    least: float
    most: float | None


def reaches() -> list[Reach]:
    """Return the reach between every two cameras."""
    metres = _shortest()
    found = []
    for one, other in itertools.combinations(CAMERAS, 2):
        if one.site == other.site:
            found.append(Reach(one.name, other.name, True, 0.0, None))
            continue
        pair = frozenset((one.site, other.site))
        direct = [street.length for street in STREETS if {street.one[0], street.other[0]} == pair]
        most = (max(direct) + 2 * _UNSEEN) / PACES[0] + HOME[1] if direct else None
        found.append(Reach(one.name, other.name, False, round(metres[pair] / PACES[1], 1), most and round(most, 1)))
    return found


def _shortest() -> dict[frozenset[str], float]:
    """Return the shortest distance in metres between gates of every two sites, by Floyd and Warshall's algorithm."""
    sites = {site for street in STREETS for site, _ in (street.one, street.other)}
    metres = {frozenset(pair): float("inf") for pair in itertools.combinations(sorted(sites), 2)}
    for street in STREETS:
        pair = frozenset((street.one[0], street.other[0]))
        metres[pair] = min(metres[pair], street.length)
    for between in sorted(sites):
        for pair in metres:
            if between not in pair:
                one, other = pair
                around = metres[frozenset((one, between))] + _THROUGH + metres[frozenset((between, other))]
                metres[pair] = min(metres[pair], around)
    return metres
