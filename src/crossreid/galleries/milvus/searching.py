"""A search in Milvus: its index's candidates, or every entry that meets the filter, scored here in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossreid.galleries.entries import Entry, Matches, stacked
from crossreid.galleries.errors import GalleryError
from crossreid.galleries.filters import Filter
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.milvus.collection import MOST, Collection
from crossreid.galleries.milvus.fields import FIELDS, entry_of, expression
from crossreid.galleries.similarity import cosine_similarities, rounding

_SPARE = 8  # candidates beyond k
_QUERIES = 64  # per message


def nearest(
    collection: Collection, options: IndexOptions, queries: np.ndarray, k: int, filter: Filter | None
) -> list[Matches]:
    """The k nearest to each query by the index with these options. Raises `GalleryError` if k is too large."""
    if k > MOST - _SPARE:
        raise GalleryError(f"Milvus returns at most {MOST - _SPARE} matches, not {k}.")
    found: list[Matches] = []
    for start in range(0, len(queries), _QUERIES):
        found += _nearest(collection, options, queries[start : start + _QUERIES], k, filter)
    return found


def _nearest(
    collection: Collection, options: IndexOptions, queries: np.ndarray, k: int, filter: Filter | None
) -> list[Matches]:
    limit = k + _SPARE
    while True:
        breadth = {"hnsw": {"ef": max(options.ef_search, limit)}, "ivf-pq": {"nprobe": options.nprobe}}
        fetched = limit if options.kind != "ivf-pq" else min(MOST, max(limit, options.refine))
        hits = collection.hits(queries, fetched, filter, breadth.get(options.kind, {}))
        matches, again = [], False
        for query, own in zip(queries, hits, strict=True):
            matches.append(best(query, [entry_of(hit["entity"]) for hit in own], k))
            # An entry that was not fetched is at most as near as the last one that was, up to rounding.
            last = own[-1]["distance"] + 2 * rounding(collection.dimension) if len(own) == fetched else -2.0
            again |= len(own) > 0 and matches[-1].scores[-1] <= last
        if not again or options.kind != "exact" or fetched == MOST:
            return matches
        limit = min(MOST, 8 * limit)


def scanned(collection: Collection, queries: np.ndarray, k: int, filter: Filter | None) -> list[Matches]:
    """The k nearest to each query, comparing here with every entry that meets the filter."""
    kept: list[list[Entry]] = [[] for _ in queries]
    least = np.full(len(queries), -np.inf)
    for part in collection.parts(expression(filter), FIELDS, 4096):
        entries = list(map(entry_of, part))
        products = queries @ stacked(entries).T
        for at, query in enumerate(queries):
            near = np.flatnonzero(products[at] >= least[at] - rounding(collection.dimension))
            kept[at] += [entries[row] for row in near]
            if len(kept[at]) > k:
                scores = cosine_similarities(query, stacked(kept[at]))
                least[at] = np.partition(scores, len(scores) - k)[len(scores) - k]
                kept[at] = [kept[at][row] for row in np.flatnonzero(scores >= least[at])]
    return [best(query, own, k) for query, own in zip(queries, kept, strict=True)]


def best(query: np.ndarray, entries: list[Entry], k: int) -> Matches:
    """The k nearest of entries with embeddings, by score and then by id."""
    if not entries:
        return Matches((), np.empty(0), ())
    scores = cosine_similarities(query, stacked(entries))
    order = sorted(range(len(entries)), key=lambda at: (-scores[at], entries[at].id))[:k]
    chosen = tuple(replace(entries[at], embedding=None) for at in order)
    return Matches(tuple(entry.id for entry in chosen), scores[order], chosen)
