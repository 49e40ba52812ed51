"""Who may be among the k nearest: places of a view and their scores, by comparing all of them or by an index.

faiss compares in float32, whose rounding could order close entries wrongly; candidates are taken until no other could
belong to the k, and are ordered by scores in float64.
"""

from __future__ import annotations

import numpy as np

from crossreid.galleries.indexes import ServedIndex
from crossreid.galleries.table import View, rounding, scores_of

_SPARE = 8  # candidates beyond k, so that few searches are repeated


class Gone(Exception):
    """Rows that a view takes for alive, whose vectors are on disk no more: they were deleted since."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows


# Places `(n,)` and their scores `(n,)`: the k best, and all that are as good as the last of them.
Candidates = tuple[np.ndarray, np.ndarray]


def exact(view: View, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Candidates]:
    """The k nearest of the allowed places to each query, all of them compared. There must be k at least. Raises `Gone`."""
    count = len(view) if allowed is None else int(allowed.sum())
    found: list[Candidates] = [(np.empty(0, np.int64), np.empty(0))] * len(queries)
    left, fetched = np.arange(len(queries)), min(count, k + _SPARE)
    while len(left):
        products, places = view.nearest(queries[left], fetched, allowed)
        again = []
        for at, query in enumerate(left.tolist()):
            found[query] = _best(view, queries[query], places[at], k)
            # Whoever was not fetched is at most as near as the last that was, but for rounding.
            if fetched < count and found[query][1].min() <= products[at, -1] + 2 * rounding(view.dimension):
                again.append(query)
        left, fetched = np.array(again, np.int64), min(count, 8 * fetched)
    return found


def approximate(
    view: View,
    served: ServedIndex,
    covered: int,
    queries: np.ndarray,
    k: int,
    allowed: np.ndarray | None,
    members: np.ndarray | None,
    share: float,
) -> list[Candidates]:
    """As `exact`, from what the index proposes of the covered places and from all places after them.

    `members` are the allowed ones of the covered places as the index takes them, and about a `share` of them. There may be
    fewer than k. Raises `Gone`.
    """
    wanted = k + _SPARE if served.options.kind == "hnsw" else max(k + _SPARE, served.options.refine)
    places = view.places(served.search(queries, wanted, members, share))
    if covered < len(view):
        after = np.zeros(len(view), bool)
        after[covered:] = (view.alive if allowed is None else allowed)[covered:]
        places = np.concatenate([places, view.nearest(queries, min(wanted, len(view) - covered), after)[1]], axis=1)
    return [_best(view, query, own, k) for query, own in zip(queries, places, strict=True)]


def _best(view: View, query: np.ndarray, places: np.ndarray, k: int) -> Candidates:
    places = np.unique(places[places >= 0])
    if not len(places):
        return places, np.empty(0)
    vectors = view.gathered(places)
    gone = ~vectors.any(axis=1)  # no vector that is stored is zero
    if gone.any():
        raise Gone(view.rows[places[gone]])
    scores = scores_of(query, vectors)
    if len(scores) > k:
        kept = scores >= -np.partition(-scores, k - 1)[k - 1]
        places, scores = places[kept], scores[kept]
    return places, scores
