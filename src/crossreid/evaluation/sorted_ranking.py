"""Ranking by sorting, as in the definitions: for galleries that are ranked before a compiled kernel is loaded.

`crossreid.evaluation.kernel` gives the same numbers, bit for bit, in a fraction of the time once it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossreid.evaluation.measures import Ranking

if TYPE_CHECKING:
    from crossreid.evaluation.ranking import Ranker

ENOUGH = 1 << 23  # pairs sorted in the time of loading the kernel


def rank_by_sorting(ranker: Ranker, at: slice, distances: np.ndarray) -> Ranking:
    """Return the ranking of the queries `at` from their finite distances `(R, G)`."""
    excluded = ranker.excluded(at)
    order = _in_order(distances)
    codes = ranker.codes[order]
    kept = np.ones(order.shape, bool) if excluded is None else ~np.take_along_axis(excluded, order, axis=1)
    hits = kept & (codes == ranker.query[at, None])
    matches = hits.sum(axis=1)
    rows, columns = np.nonzero(hits)
    ranks = kept.cumsum(axis=1)[rows, columns]
    starts = np.concatenate([[0], matches.cumsum()])
    first = np.zeros(len(order), np.int64)
    precision, penalty = np.full(len(order), np.nan), np.full(len(order), np.nan)
    for q in np.flatnonzero(matches):
        own = ranks[starts[q] : starts[q + 1]]
        number = np.arange(1, len(own) + 1)
        values = number / own
        if ranker.trapezoid:
            before = np.ones(len(own))
            np.divide(number - 1, own - 1, out=before, where=own > 1)
            values = (values + before) / 2
        precision[q] = values.cumsum()[-1] / len(own)  # a pairwise sum would round differently from a sequential one
        penalty[q] = len(own) / own[-1]
        first[q] = own[0]
        if ranker.first_only:
            ahead = slice(0, columns[starts[q]])
            others = np.unique(codes[q, ahead][kept[q, ahead]])
            first[q] = 1 + np.count_nonzero(others != ranker.query[at][q])
    return Ranking(ranker.positions, first, precision, penalty, matches, kept.sum(axis=1))


def _in_order(distances: np.ndarray) -> np.ndarray:
    """Sort each row stably: by a fast sort, and with a stable one if entries tie."""
    order = np.argsort(distances, axis=1)
    near = np.take_along_axis(distances, order, axis=1)
    tied = (near[:, 1:] == near[:, :-1]).any(axis=1)
    if tied.any():
        order[tied] = np.argsort(distances[tied], axis=1, kind="stable")
    return order
