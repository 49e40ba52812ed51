"""The recall of an index: recall@k against comparing with every entry, on stored vectors."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from crossreid.galleries.entries import stacked
from crossreid.galleries.errors import GalleryError
from crossreid.galleries.gallery import Advance, Gallery

_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Recall:
    """Mean and worst fraction in [0, 1] of a query's k nearest that the index returned; seconds per query for both."""

    k: int
    queries: int
    mean: float
    worst: float
    index_seconds: float
    exact_seconds: float


def measure_recall(
    gallery: Gallery,
    queries: np.ndarray | None = None,
    *,
    k: int = 10,
    count: int = 1000,
    seed: int = 0,
    advance: Advance | None = None,
) -> Recall:
    """Recall@k of the gallery's index against its exact search, for queries `(Q, D)` or `count` of its own entries.

    An entry used as a query does not count as its own neighbour. `advance(done, total)` is called as queries are
    answered. Raises `GalleryError` if there is nothing to find.
    """
    own: list[str] | None = None
    if queries is None:
        drawn = gallery.sample(count, seed)
        own = [entry.id for entry in drawn]
        queries = stacked(drawn)
    if not len(queries) or len(gallery) <= (own is not None):
        raise GalleryError("recall: the gallery has too few entries to search among; add some.")
    wanted = k + (own is not None)
    shares: list[float] = []
    seconds = [0.0, 0.0]
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        found = []
        for at, exact in enumerate((False, True)):
            began = time.perf_counter()
            found.append(gallery.search(block, wanted, exact=exact))
            seconds[at] += time.perf_counter() - began
        for row, (some, true) in enumerate(zip(*found, strict=True)):
            asking = own[start + row] if own is not None else None
            nearest = [name for name in true.ids if name != asking][:k]
            given = {name for name in some.ids if name != asking}
            shares.append(sum(name in given for name in nearest) / len(nearest))
        if advance is not None:
            advance(len(block), len(queries))
    total = len(queries)
    return Recall(k, total, float(np.mean(shares)), min(shares), seconds[0] / total, seconds[1] / total)
