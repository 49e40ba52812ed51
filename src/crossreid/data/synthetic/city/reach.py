"""How soon somebody who left one camera's view can be in another's: the topology that the city's own plan gives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from crossreid.data.synthetic.city.places import CAMERAS, STREETS
from crossreid.data.synthetic.city.walking import HOME, PACES

# Metres that a person walks at least through a site between two of its gates, and at most outside of a view on either side.
_THROUGH, _UNSEEN = 6.0, 12.0


@dataclass(frozen=True, slots=True)
class Reach:
    """From one camera to another, either way: the same people at once, or seconds between; `most` is None where others lie
    between, so that nothing limits how long it may take."""

    one: str
    other: str
    overlap: bool
    least: float
    most: float | None


def reaches() -> list[Reach]:
    """Of every two cameras."""
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
    """Metres from gate to gate of every two sites by the shortest way: Floyd and Warshall's."""
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
