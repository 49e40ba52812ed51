"""Links into clusters, the most alike first, without ever joining what must stay apart.

As Kruskal's algorithm makes a spanning forest, but a link is refused that would put two nodes into one cluster that one
frame shows as two: a chain of look-alikes cannot join them either. Without such pairs the clusters are the connected
components of the links.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`(count,)` int64, the connected component of each of `count` nodes."""
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def merged(
    count: int, first: np.ndarray, second: np.ndarray, likeness: np.ndarray, apart: np.ndarray
) -> tuple[np.ndarray, int]:
    """Clusters `(count,)` int64 of nodes by links `first`, `second` `(L,)`, and how many links were refused.

    Links of the highest `likeness` `(L,)` come first, equal ones by their nodes. `apart` `(P, 2)` holds the pairs that no
    cluster may join. Clusters are numbered by their first nodes.
    """
    labels = components(count, first, second)
    broken = np.unique(labels[apart[labels[apart[:, 0]] == labels[apart[:, 1]], 0]]) if len(apart) else apart[:0, 0]
    if not len(broken):
        return labels, 0
    # Only components that join what must stay apart are made anew, link by link: no link leads out of them.
    inside = np.isin(labels, broken)
    own = np.flatnonzero(inside[first])
    own = own[np.lexsort((second[own], first[own], -likeness[own]))]
    forest = _Forest(np.flatnonzero(inside).tolist(), apart[inside[apart[:, 0]] & inside[apart[:, 1]]].tolist())
    refused = 0
    for one, other in zip(first[own].tolist(), second[own].tolist(), strict=True):
        refused += not forest.join(one, other)
    roots = np.arange(count) + count
    roots[inside] = [forest.root(node) for node in np.flatnonzero(inside).tolist()]
    roots[~inside] = labels[~inside] + count
    return numbered(roots), refused


def numbered(labels: np.ndarray) -> np.ndarray:
    """The same clusters, numbered from 0 by their first nodes."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def members(labels: np.ndarray) -> list[np.ndarray]:
    """The positions in each cluster, ascending, by the numbers of the clusters."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


class _Forest:
    """Disjoint sets of nodes, each with the roots of the sets that it must never be joined with."""

    def __init__(self, nodes: Iterable[int], apart: Iterable[list[int]]) -> None:
        self._parent = {node: node for node in nodes}
        self._size = dict.fromkeys(self._parent, 1)
        self._foes: dict[int, set[int]] = {}
        for one, other in apart:
            self._foes.setdefault(one, set()).add(other)
            self._foes.setdefault(other, set()).add(one)

    def root(self, node: int) -> int:
        parent = self._parent
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    def join(self, one: int, other: int) -> bool:
        """Join the sets of two nodes; False where they must stay apart."""
        one, other = self.root(one), self.root(other)
        if one == other:
            return True
        foes = self._foes
        if other in foes.get(one, ()):
            return False
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size.pop(other)
        if moved := foes.pop(other, None):
            for foe in moved:
                foes[foe].discard(other)
                foes[foe].add(one)
            if len(moved) > len(own := foes.setdefault(one, set())):
                foes[one], moved = moved, own
            foes[one] |= moved
        return True
