"""Open-set identification: is the query's identity in the gallery at all, and who is it?

A query is accepted if its nearest kept gallery entry is nearer than a threshold. Among queries without a match, every
accepted one is a false accept; among those with a match, one is a true accept if it is accepted and its nearest entry
shows its identity (detection and identification rate at rank 1: Grother and Ngan, "Face Recognition Vendor Test", NIST
IR 8009; Jain and Li, "Handbook of Face Recognition", chapter 21). The threshold of a false-accept rate f is the largest
distance that accepts at most the share f of the queries without a match.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.measures import Ranking

FALSE_ACCEPT_RATES = (0.01, 0.05, 0.1, 0.2)


def true_accept_rate(nearest: np.ndarray, right: np.ndarray, mated: np.ndarray, rate: float) -> float:
    """Return the share of mated queries that are accepted and correct, at a false-accept rate in [0, 1].

    Args:
        nearest: `(Q,)` distance to the nearest kept entry, infinite if there is none.
        right: `(Q,)` bool, whether that entry shows the query's identity.
        mated: `(Q,)` bool, whether the gallery has the query's identity.

    Raises:
        DataError: no mated query, or none without a match.
    """
    if not 0 <= rate <= 1:
        raise CrossreidError(f"expected a false-accept rate in [0, 1], found {rate}.")
    if mated.all() or not mated.any():
        kind = "without a match, which are" if mated.all() else "with a match, which are"
        raise DataError(f"open-set: expected queries {kind} needed to set a threshold and to be found; found none.")
    return float(np.mean(right[mated] & (nearest[mated] < distance_threshold(nearest[~mated], rate))))


def distance_threshold(impostors: np.ndarray, rate: float) -> float:
    """Return the largest distance below which at most the share `rate` of distances `(n,)` lies; infinity for all."""
    allowed = int(np.floor(rate * len(impostors) + 1e-9))
    return float(np.partition(impostors, allowed)[allowed]) if allowed < len(impostors) else float(np.inf)


def score_threshold(impostors: np.ndarray, rate: float) -> float:
    """Return the lowest score that at most the share `rate` of scores `(n,)` reaches: the same threshold for scores,
    which are accepted if they reach it."""
    return float(np.nextafter(-distance_threshold(-impostors, rate), np.inf))


def open_set_rates(ranking: Ranking, rates: Sequence[float] = FALSE_ACCEPT_RATES) -> dict[str, float]:
    """Return the true-accept rates of a ranking made with `nearest`, by name."""
    if ranking.nearest is None:
        raise CrossreidError("the ranking has no nearest distances; rank with nearest=True.")
    return {
        f"TAR@FAR={rate:g}": true_accept_rate(ranking.nearest, ranking.first == 1, ranking.valid, rate)
        for rate in rates
    }
