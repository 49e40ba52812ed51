"""Agglomerative clustering by scikit-learn: average or complete linkage, as far as a threshold, under what must stay apart.

Two clusters whose average (or least) cosine is at the threshold hold a pair that is. So no cluster reaches beyond a connected
component of the links, and each component is clustered by itself: up to `DENSE` nodes by all cosines between them, exactly
as the whole would be. A larger one is clustered along its links and the nearest of each node, as scikit-learn's
`connectivity`, which knows no other cosines; what must stay apart is parted afterwards.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import coo_array

from crossreid.clustering.merging import components, merged, numbered
from crossreid.clustering.neighbours import Pairs, joined, nearest_of
from crossreid.errors import CrossreidError

Linkage = Literal["average", "complete"]
DENSE = 4000  # nodes of a component whose cosines are all held: 128 MB
MOST_VALUES = 300_000_000  # of the embeddings at both ends of a large component's pairs
_NEAREST = 16
_BEYOND = 1e-6  # rounding of cosines in float32


def agglomerated(
    rows: np.ndarray, kinds: np.ndarray, links: Pairs, table: np.ndarray, apart: np.ndarray, linkage: Linkage
) -> np.ndarray:
    """Clusters `(M,)` int64 of unit rows `(M, D)` by links, the pairs from the threshold on.

    `table` holds the thresholds by `kinds` `(M,)` of two nodes; `apart` `(P, 2)` the pairs that no cluster may join.
    Raises `CrossreidError` where a component is too large to be clustered so.
    """
    count = len(rows)
    component = components(count, links.first, links.second)
    order = np.argsort(component, kind="stable")
    bounds = np.searchsorted(component[order], np.arange(component.max() + 2))
    labels = np.arange(count)  # those of one node
    foes = _by_component(apart, component)
    present = table[np.ix_(np.unique(kinds), np.unique(kinds))]
    for number in np.flatnonzero(np.diff(bounds) > 1).tolist():
        own = order[bounds[number] : bounds[number + 1]]
        if len(own) <= DENSE:
            found = _dense(rows[own], kinds[own], table, _within(foes.get(number, apart[:0]), own), linkage)
        else:
            inside = np.flatnonzero(component[links.first] == number)
            found = _along_links(
                rows[own], _of(links.taken(inside), own), float(present[np.isfinite(present)].max()), linkage
            )
        labels[own] = own[np.unique(found, return_index=True)[1][found]]
    return parted(numbered(labels), rows, kinds, table, links, apart)


def parted(
    labels: np.ndarray, rows: np.ndarray, kinds: np.ndarray, table: np.ndarray, links: Pairs, apart: np.ndarray
) -> np.ndarray:
    """The same clusters, but those that join what must stay apart taken to pieces.

    The nodes of such a cluster are joined anew, the most alike first, as `merged` does it; of up to `DENSE` nodes by all
    cosines between them, of more by `links` and the nearest of each. `table` as in `agglomerated`; where it is infinite,
    cosines count as they are.
    """
    if not len(apart):
        return labels
    result = labels.copy()
    fresh = int(labels.max()) + 1
    offsets = np.where(np.isfinite(table), table, 0.0)
    for number, foes in _by_component(apart, labels).items():
        own = np.flatnonzero(labels == number)
        if len(own) <= DENSE:
            one, other = np.triu_indices(len(own), 1)
            cosines = (rows[own] @ rows[own].T)[one, other]
        else:
            inside = _of(links.taken((labels[links.first] == number) & (labels[links.second] == number)), own)
            inside = joined([inside, nearest_of(rows[own], _NEAREST)])
            one, other, cosines = inside.first, inside.second, inside.cosines
        likeness = cosines - offsets[kinds[own[one]], kinds[own[other]]]
        pieces, _ = merged(len(own), one, other, likeness, _within(foes, own))
        result[own] = fresh + pieces
        fresh += int(pieces.max()) + 1
    return numbered(result)


def _dense(rows: np.ndarray, kinds: np.ndarray, table: np.ndarray, apart: np.ndarray, linkage: Linkage) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    # As far below the threshold as 2 is above it. What must stay apart is so far that no average with it comes near.
    never = 4.0 * len(rows) ** 2
    margins = (rows @ rows.T).astype(np.float64) - table[kinds[:, None], kinds]
    distances = np.where(np.isfinite(margins), 2.0 - margins, never)
    distances[apart[:, 0], apart[:, 1]] = distances[apart[:, 1], apart[:, 0]] = never
    np.fill_diagonal(distances, 0.0)
    distances = (distances + distances.T) / 2
    found = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage=linkage, distance_threshold=2.0 + _BEYOND
    )
    return found.fit_predict(distances)


def _along_links(rows: np.ndarray, links: Pairs, threshold: float, linkage: Linkage) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    pairs = joined([links, nearest_of(rows, _NEAREST)])
    ends = np.unique(pairs.first * len(rows) + pairs.second)
    if len(ends) * rows.shape[1] > MOST_VALUES:
        raise CrossreidError(
            f"{len(rows):,} images are connected by {len(ends):,} pairs, more than agglomerative clustering can handle. Raise the "
            "threshold, keep fewer pairs (--nearest 8), or use --method components."
        )
    one, other = np.divmod(ends, len(rows))
    graph = coo_array((np.ones(len(ends), np.int8), (one, other)), shape=(len(rows), len(rows))).tocsr()
    found = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage=linkage, connectivity=graph + graph.T,
        distance_threshold=1.0 - threshold + _BEYOND,
    )  # fmt: skip
    return found.fit_predict(rows)


def _by_component(apart: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """The pairs that lie within one cluster, by its number."""
    inside = apart[labels[apart[:, 0]] == labels[apart[:, 1]]]
    if not len(inside):
        return {}
    own = labels[inside[:, 0]]
    order = np.argsort(own, kind="stable")
    numbers, starts = np.unique(own[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(inside[order], starts[1:]), strict=True))


def _within(pairs: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Pairs of nodes as pairs of positions among `own`, which is ascending and holds them all."""
    return np.searchsorted(own, pairs)


def _of(pairs: Pairs, own: np.ndarray) -> Pairs:
    return Pairs(_within(pairs.first, own), _within(pairs.second, own), pairs.cosines)
