"""The measures of a ranking, per query and over queries: CMC, average precision (AP), inverse negative penalty (INP).

Definitions. Kept entries are the gallery minus what the exclusion rule and the junk mask remove; they are ordered by
distance, and entries at equal distance by their position in the gallery. A query's matches are the kept entries of its
identity, with ranks r_1 < ... < r_n (1-based) among the kept entries:

* AP (step) = mean_i i / r_i, as in SYSU-MM01's evaluation;
* AP (trapezoid) = mean_i (i / r_i + (i-1) / (r_i - 1)) / 2, the second term 1 if r_i = 1 (Market-1501's, MARS's);
* INP = n / r_n (Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook");
* the rank that counts for CMC is r_1 or, if only the first image of each identity counts, 1 plus the number of
  other identities that have an entry ahead of r_1.

A query without a match is skipped: it is in no average, but is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from crossreid.errors import CrossreidError


@dataclass(frozen=True, eq=False)
class Ranking:
    """Results of Q queries, each array `(Q,)`.

    `first`: the rank that counts for CMC, 1-based, 0 if skipped; `average_precision` and `inverse_penalty` (INP):
    float64 in (0, 1], NaN if skipped; `matches` and `kept`: numbers of kept entries of the query's identity and of all;
    `nearest`, if requested: the distance of the nearest kept entry, infinite if there is none. `positions`: the number
    of possible ranks (gallery entries, or gallery identities if first images count).
    """

    positions: int
    first: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray
    matches: np.ndarray
    kept: np.ndarray
    nearest: np.ndarray | None = None

    @property
    def valid(self) -> np.ndarray:
        """Return `(Q,)` bool: the queries that have a match."""
        return self.matches > 0

    @property
    def skipped(self) -> int:
        return int(np.count_nonzero(self.matches == 0))

    @property
    def cmc(self) -> np.ndarray:
        """Return `(positions,)` float64: the share of valid queries found at rank 1, 2, ..., NaN if none is valid."""
        found = np.bincount(self.first[self.valid], minlength=self.positions + 1)[1:]
        with np.errstate(invalid="ignore"):
            return np.cumsum(found) / np.float64(found.sum())

    @property
    def mAP(self) -> float:
        return _mean(self.average_precision[self.valid])

    @property
    def mINP(self) -> float:
        return _mean(self.inverse_penalty[self.valid])

    @property
    def chance_rank1(self) -> float:
        """Return the expected rank-1 of a uniformly random order of the kept entries: the mean of matches / kept.

        It is the same under both counting rules, because the first entry decides in both.
        """
        return _mean(self.matches[self.valid] / self.kept[self.valid])


def concatenate(parts: Iterable[Ranking]) -> Ranking:
    """Concatenate the rankings of several blocks of queries against one gallery."""
    blocks = list(parts)
    if len({block.positions for block in blocks}) != 1:
        raise CrossreidError(
            "rankings to concatenate must use one gallery; found none, or galleries of different sizes."
        )
    names = ("first", "average_precision", "inverse_penalty", "matches", "kept")
    nearest = [b.nearest for b in blocks if b.nearest is not None]
    joined = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
    return Ranking(
        blocks[0].positions, **joined, nearest=np.concatenate(nearest) if len(nearest) == len(blocks) else None
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
