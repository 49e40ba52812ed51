"""Which nodes are alike: all pairs from a cosine on, or the nearest of each node, exactly or by an index of faiss.

Pairs are looked for within each pair of modalities by itself, as the nearest of a night picture are night pictures and would
leave no room for those of the day. Nothing here holds all cosines at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossreid.clustering.thresholds import Thresholds
from crossreid.errors import CrossreidError

EXACT = 50_000  # rows up to which each is compared with all: half a minute of one core
MOST_PAIRS = 30_000_000  # that are held: half a gigabyte
SEED = 0
_CELLS = 1 << 24  # cosines that are held at once, of pairs from a threshold on
_ASKED = 16_384  # rows that ask an index at once
_PROBED = 16  # lists of an index that are compared with
_ROUNDING = 1e-6  # of a cosine that was computed twice

Advance = Callable[..., object]
# Of rows (Q, D) and k: the k nearest (Q, k) int64, -1 where there are no more, and their cosines (Q, k) float32.
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """L pairs of nodes, each once: first < second `(L,)` int64, and their cosines `(L,)` float32."""

    first: np.ndarray
    second: np.ndarray
    cosines: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def taken(self, mask: np.ndarray) -> Pairs:
        """Those of a mask or of positions."""
        return Pairs(self.first[mask], self.second[mask], self.cosines[mask])


def joined(parts: list[Pairs]) -> Pairs:
    """Several as one."""
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    return Pairs(
        np.concatenate([part.first for part in parts]), np.concatenate([part.second for part in parts]),
        np.concatenate([part.cosines for part in parts]),
    )  # fmt: skip


def links(
    rows: np.ndarray,
    modalities: np.ndarray,
    thresholds: Thresholds,
    nearest: int | None = None,
    *,
    searches: Mapping[int, Search] | None = None,
    advance: Advance | None = None,
) -> Pairs:
    """The pairs of unit rows `(M, D)` whose cosine is at least the lowest threshold of their modalities.

    Args:
        nearest: only pairs that are no less alike than the `nearest`-th nearest of each, of the other's modality; None for all.
        searches: by modality, what finds the nearest among the rows of it, as positions among all; in place of `searching`.
        advance: called with (0, total) and with counts of rows that have been compared, for each pair of modalities.

    Raises:
        CrossreidError: more pairs than are held.
    """
    parts: list[Pairs] = []
    counts = np.bincount(modalities, minlength=2)
    wanted = {pair: least for pair, least in thresholds.least().items() if math.isfinite(least)}
    if advance is not None:
        both = [counts[one] + counts[other] if nearest and one != other else counts[one] for one, other in wanted]
        advance(0, int(sum(both)))
    for (one, other), least in wanted.items():
        left, right = np.flatnonzero(modalities == int(one)), np.flatnonzero(modalities == int(other))
        if nearest is None:
            found = _all_pairs(rows, left, right, least, sum(map(len, parts)), advance)
        else:
            find = [None if searches is None else searches[int(answering)] for answering in (one, other)]
            found = _mutual(rows, left, right, least, nearest, find, advance)
        parts.append(found)
    pairs = joined(parts)
    order = np.lexsort((pairs.second, pairs.first))
    return pairs.taken(order)


def searching(rows: np.ndarray, names: np.ndarray, exact: bool | None = None) -> Search:
    """What finds the nearest of rows `(M, D)`, which it calls `names` `(M,)`: by comparing with all, or by lists of near ones (IVF).

    By lists it finds most of the true nearest, not all: 16 of 4 sqrt(M) lists are compared with. `exact` by default up to
    50,000 rows.
    """
    import faiss

    if len(rows) <= EXACT if exact is None else exact:
        return lambda asking, k: _named(names, *_knn(asking, rows, k))
    lists = int(4 * math.sqrt(len(rows)))
    quantiser = faiss.IndexFlatIP(rows.shape[1])
    index: Any = faiss.IndexIVFFlat(quantiser, rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.min_points_per_centroid = SEED, 1
    sample = np.random.default_rng(SEED).choice(len(rows), min(len(rows), 40 * lists), replace=False)
    index.train(rows[np.sort(sample)])
    for start in range(0, len(rows), _ASKED):
        index.add(rows[start : start + _ASKED])
    index.nprobe = _PROBED

    def by_lists(asking: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        cosines, positions = index.search(np.ascontiguousarray(asking), k)
        return _named(names, positions, cosines)

    by_lists.index = (index, quantiser)  # type: ignore[attr-defined]  # which faiss does not keep alive itself
    return by_lists


def nearest_of(rows: np.ndarray, k: int, *, search: Search | None = None, advance: Advance | None = None) -> Pairs:
    """The pairs of which one is among the k nearest of the other, whatever their cosine."""
    every = np.arange(len(rows))
    keys, cosines, _ = _directed(rows, every, every, k, -math.inf, search, advance)
    one, other = np.divmod(keys, len(rows))
    return _once(one, other, cosines, len(rows))


def _all_pairs(
    rows: np.ndarray, left: np.ndarray, right: np.ndarray, least: float, before: int, advance: Advance | None
) -> Pairs:
    parts: list[Pairs] = []
    others = rows[right]
    step = max(1, _CELLS // max(1, len(right)))
    for start in range(0, len(left), step):
        asking = left[start : start + step]
        cosines = rows[asking] @ others.T
        ones, seconds = np.nonzero(cosines >= np.float32(least))
        values = cosines[ones, seconds]
        ones, seconds = asking[ones], right[seconds]
        kept = ones < seconds if np.array_equal(left, right) else np.ones(len(ones), bool)
        parts.append(
            Pairs(np.minimum(ones, seconds)[kept], np.maximum(ones, seconds)[kept], np.clip(values, -1, 1)[kept])
        )
        before += len(parts[-1])
        if before > MOST_PAIRS:
            raise CrossreidError(
                f"more than {MOST_PAIRS:,} pairs reach a cosine of {least:.3f}. Raise the threshold, or keep only the nearest: "
                "--nearest 32."
            )
        if advance is not None:
            advance(len(asking))
    return joined(parts)


def _mutual(
    rows: np.ndarray, left: np.ndarray, right: np.ndarray, least: float, nearest: int,
    searches: Sequence[Search | None], advance: Advance | None,
) -> Pairs:  # fmt: skip
    """Pairs no less alike than the last of the nearest of either; that an index finds one from one side is enough."""
    keys, cosines, last = _directed(rows, left, right, nearest, least, searches[1], advance)
    one, other = np.divmod(keys, len(rows))
    last_of_other = last
    if not np.array_equal(left, right):
        back, more, last_of_other = _directed(rows, right, left, nearest, least, searches[0], advance)
        ends = np.divmod(back, len(rows))
        one, other, cosines = (np.concatenate(each) for each in ((one, ends[1]), (other, ends[0]), (cosines, more)))
    both = (cosines >= last[one] - _ROUNDING) & (cosines >= last_of_other[other] - _ROUNDING)
    return _once(one[both], other[both], cosines[both], len(rows))


def _directed(
    rows: np.ndarray, asking: np.ndarray, answering: np.ndarray, k: int, least: float, search: Search | None,
    advance: Advance | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Keys (asking * M + answering) and cosines of the k nearest of each, itself left out, from a cosine on.

    And `(M,)` float32 of each that asks the cosine of its k-th nearest, negative infinity where there are fewer.
    """
    find = search or searching(rows if len(answering) == len(rows) else rows[answering], answering)
    keys: list[np.ndarray] = [np.empty(0, np.int64)]
    cosines: list[np.ndarray] = [np.empty(0, np.float32)]
    last = np.full(len(rows), -np.inf, np.float32)
    for start in range(0, len(asking), _ASKED):
        part = asking[start : start + _ASKED]
        found, values = find(rows[part], min(k + 1, len(answering)))
        kept = (found >= 0) & (found != part[:, None])
        kept &= np.cumsum(kept, axis=1) <= k  # of a row that finds copies before itself, one too many
        full = kept.sum(axis=1) == k
        last[part[full]] = np.where(kept, values, np.inf).min(axis=1)[full]
        kept &= values >= np.float32(least)
        at, column = np.nonzero(kept)
        keys.append(part[at] * len(rows) + found[at, column])
        cosines.append(np.clip(values[at, column], -1, 1).astype(np.float32))
        if advance is not None:
            advance(len(part))
    return np.concatenate(keys), np.concatenate(cosines), last


def _once(one: np.ndarray, other: np.ndarray, cosines: np.ndarray, count: int) -> Pairs:
    """Directed pairs, each once, with the cosine of its direction from the lower one where that was found."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((one > other, high, low))
    keys = low[order] * count + high[order]
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    chosen = order[first]
    return Pairs(low[chosen], high[chosen], cosines[chosen])


def _named(names: np.ndarray, positions: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(positions >= 0, names[positions], -1), cosines


def _knn(asking: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    cosines, positions = faiss.knn(
        np.ascontiguousarray(asking), np.ascontiguousarray(rows), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return positions, cosines
