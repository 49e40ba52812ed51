"""HDBSCAN by scikit-learn (Campello, Moulavi and Sander, PAKDD 2013): clusters where nodes lie denser than around them.

It needs no threshold. Up to `DENSE` nodes all distances are held; of more it sees the nearest of each node alone, a sparse
matrix in which components that nothing joins are tied at the largest distance that there is.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array

from crossreid.clustering.merging import components
from crossreid.clustering.neighbours import Pairs, Search, nearest_of

DENSE = 4000
_LEAST_NEAREST = 32
_FARTHEST = 2.0  # of unit vectors


def dense_clusters(
    rows: np.ndarray, min_cluster: int = 2, min_samples: int | None = None, *, search: Search | None = None
) -> np.ndarray:
    """Clusters `(M,)` int64 of unit rows `(M, D)`, -1 for noise.

    Args:
        min_cluster: nodes of the smallest cluster.
        min_samples: nodes that make a place dense, the node itself among them; `min_cluster` by default.
        search: what finds the nearest of many rows.
    """
    from sklearn.cluster import HDBSCAN

    samples = min_cluster if min_samples is None else min_samples
    if len(rows) < max(2, min_cluster, samples):
        return np.full(len(rows), -1)
    if len(rows) <= DENSE:
        distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * (rows @ rows.T).astype(np.float64)))
        distances = (distances + distances.T) / 2
        np.fill_diagonal(distances, 0.0)
    else:
        distances = _sparse(rows, nearest_of(rows, max(_LEAST_NEAREST, 2 * samples), search=search))
    found = HDBSCAN(
        min_cluster_size=min_cluster, min_samples=samples, metric="precomputed", algorithm="brute", copy=False
    )
    return found.fit_predict(distances).astype(np.int64)


def _sparse(rows: np.ndarray, pairs: Pairs) -> coo_array:
    """Distances of the pairs, both ways, and a tie from the first node of each component to that of the next."""
    count = len(rows)
    labels = components(count, pairs.first, pairs.second)
    firsts = np.unique(labels, return_index=True)[1]
    one = np.concatenate([pairs.first, firsts[:-1]])
    other = np.concatenate([pairs.second, firsts[1:]])
    # A stored zero is a missing distance to scipy: copies are a hair apart.
    lengths = np.sqrt(np.maximum(1e-12, 2.0 - 2.0 * pairs.cosines.astype(np.float64)))
    values = np.concatenate([lengths, np.full(len(firsts) - 1, _FARTHEST)])
    ends = np.concatenate([one, other]), np.concatenate([other, one])
    return coo_array((np.concatenate([values, values]), ends), shape=(count, count)).tocsr()
