"""A search in process: candidates for the k nearest, by comparing all positions or by an index, and their matches.

faiss compares in float32, whose rounding could order close entries wrongly. Candidates are fetched until no other could
be among the k nearest, and are ordered by scores in float64.
"""

from __future__ import annotations

import numpy as np

from crossreid.galleries.entries import Matches
from crossreid.galleries.local.state import Chosen, State
from crossreid.galleries.local.store import Store
from crossreid.galleries.local.vector_table import VectorTable
from crossreid.galleries.similarity import cosine_similarities, rounding

_SPARE = 8  # candidates beyond k, so that few searches must be repeated


class Gone(Exception):
    """Rows alive in a table have since been deleted from the database; the search must be repeated."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows


# Positions `(n,)` and their scores `(n,)`: the k best, and all that tie with the last of them.
Candidates = tuple[np.ndarray, np.ndarray]


def candidates_of(state: State, chosen: Chosen, queries: np.ndarray, k: int, exact: bool) -> list[Candidates]:
    """The k nearest to each query among the entries that a filter leaves, or all if there are fewer. Raises `Gone`.

    Uses the index if there is one and it is faster, unless `exact`.
    """
    table, allowed = state.table, chosen.allowed
    k = min(k, chosen.count)
    if not k:
        return [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
    if exact or state.served is None or (allowed is not None and chosen.members is None) or not chosen.within:
        return exact_candidates(table, queries, k, allowed)
    found = approximate_candidates(state, chosen, queries, k)
    for at in [at for at, (positions, _) in enumerate(found) if len(positions) < k]:
        found[at] = exact_candidates(table, queries[at : at + 1], k, allowed)[0]  # the index returned too few
    return found


def matches_of(found: list[Candidates], table: VectorTable, store: Store, k: int) -> list[Matches]:
    """Each query's k best candidates with their entries, ties ordered by id. Raises `Gone`."""
    wanted = [table.rows[positions] for positions, _ in found]
    every = np.unique(np.concatenate(wanted))
    entries = store.entries_of(every.tolist())
    if len(entries) < len(every):
        raise Gone(np.array([row for row in every.tolist() if row not in entries], np.int64))
    matches = []
    for rows, (_, scores) in zip(wanted, found, strict=True):
        own = [entries[row] for row in rows.tolist()]
        order = sorted(range(len(own)), key=lambda at: (-scores[at], own[at].id))[:k]
        best = tuple(own[at] for at in order)
        matches.append(Matches(tuple(entry.id for entry in best), scores[order], best))
    return matches


def exact_candidates(table: VectorTable, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Candidates]:
    """The k nearest of the allowed positions (at least k) to each query, comparing with all of them. Raises `Gone`."""
    count = len(table) if allowed is None else int(allowed.sum())
    found: list[Candidates] = [(np.empty(0, np.int64), np.empty(0))] * len(queries)
    left, fetched = np.arange(len(queries)), min(count, k + _SPARE)
    while len(left):
        products, positions = table.nearest(queries[left], fetched, allowed)
        again = []
        for at, query in enumerate(left.tolist()):
            found[query] = _best(table, queries[query], positions[at], k)
            # An entry that was not fetched is at most as near as the last one that was, up to rounding.
            if fetched < count and found[query][1].min() <= products[at, -1] + 2 * rounding(table.dimension):
                again.append(query)
        left, fetched = np.array(again, np.int64), min(count, 8 * fetched)
    return found


def approximate_candidates(state: State, chosen: Chosen, queries: np.ndarray, k: int) -> list[Candidates]:
    """As `exact_candidates`, from the index's proposals among covered positions and from all positions after them.

    May return fewer than k. Raises `Gone`.
    """
    table, served, covered, allowed = state.table, state.served, state.covered, chosen.allowed
    assert served is not None
    wanted = k + _SPARE if served.options.kind == "hnsw" else max(k + _SPARE, served.options.refine)
    positions = table.positions(served.search(queries, wanted, chosen.members, chosen.within / covered))
    if covered < len(table):
        after = np.zeros(len(table), bool)
        after[covered:] = (table.alive if allowed is None else allowed)[covered:]
        positions = np.concatenate(
            [positions, table.nearest(queries, min(wanted, len(table) - covered), after)[1]], axis=1
        )
    return [_best(table, query, own, k) for query, own in zip(queries, positions, strict=True)]


def _best(table: VectorTable, query: np.ndarray, positions: np.ndarray, k: int) -> Candidates:
    positions = np.unique(positions[positions >= 0])
    if not len(positions):
        return positions, np.empty(0)
    vectors = table.gathered(positions)
    gone = ~vectors.any(axis=1)  # stored vectors are never zero
    if gone.any():
        raise Gone(table.rows[positions[gone]])
    scores = cosine_similarities(query, vectors)
    if len(scores) > k:
        kept = scores >= -np.partition(-scores, k - 1)[k - 1]
        positions, scores = positions[kept], scores[kept]
    return positions, scores
