"""Crops into clusters: which method, by which thresholds, over which pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.density import dense_clusters
from crossreid.clustering.label_scores import LabelScores, label_scores
from crossreid.clustering.linkage import Linkage, agglomerated, parted
from crossreid.clustering.merging import merged
from crossreid.clustering.neighbours import Pairs, Search, joined, links
from crossreid.clustering.nodes import Nodes, nodes_of
from crossreid.clustering.thresholds import Thresholds
from crossreid.errors import CrossreidError

Method = Literal["components", "agglomerative", "hdbscan"]
METHODS: tuple[str, ...] = get_args(Method)
ALL_PAIRS = 20_000  # nodes up to which all pairs from the threshold on are links
NEAREST = 32  # of more nodes
NO_THRESHOLD = (
    "--method hdbscan takes no threshold: it looks for dense regions. Leave --threshold, --probability and "
    "--false-accept-rate out."
)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Options of clustering.

    `nearest` keeps only links between nodes that are among each other's so many nearest: 0 keeps all, None keeps all up
    to 20,000 nodes and 32 beyond. `linkage` is for agglomerative, `min_cluster` and `min_samples` for hdbscan. Without
    `tracklets` and `frames`, only the similarity of crops is used.
    Raises `CrossreidError` naming the option.
    """

    method: Method = "components"
    nearest: int | None = None
    linkage: Linkage = "average"
    min_cluster: int = 2
    min_samples: int | None = None
    tracklets: bool = True
    frames: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CrossreidError(f"--method {self.method!r}: expected one of {', '.join(METHODS)}.")
        if self.linkage not in get_args(Linkage):
            raise CrossreidError(f"--linkage {self.linkage!r}: expected average or complete.")
        if self.nearest is not None and self.nearest < 0:
            raise CrossreidError(f"--nearest {self.nearest}: expected 1 or more, or 0 for all.")
        if self.min_cluster < 2 or (self.min_samples is not None and self.min_samples < 1):
            raise CrossreidError(
                f"--min-cluster {self.min_cluster}, --min-samples {self.min_samples}: expected 2 or more, and 1 or more."
            )


@dataclass(frozen=True, eq=False, slots=True)
class Clustering:
    """The clustering: labels `(N,)` int64, the cluster of each crop, from 0, largest first, ties by their first crops.

    A crop linked to no other is its own cluster; so is each one that HDBSCAN considers noise, `noise` of them, where a
    tracklet counts as one. `apart` pairs of nodes had to stay apart; `refused` links would have joined such pairs
    (components only). `nearest` is how many nearest were kept, None for all.
    """

    labels: np.ndarray
    options: ClusterOptions
    thresholds: Thresholds | None
    nodes: Nodes
    links: int
    nearest: int | None
    refused: int = 0
    noise: int = 0
    scores: LabelScores | None = None

    @property
    def sizes(self) -> np.ndarray:
        """`(C,)` int64, crops of each cluster, in descending order."""
        return np.bincount(self.labels)


def cluster_crops(
    crops: Crops,
    thresholds: Thresholds | None = None,
    options: ClusterOptions | None = None,
    *,
    searches: Mapping[int, Search] | None = None,
    advance: Callable[..., object] | None = None,
) -> Clustering:
    """The clusters of crops; the same whatever order the crops were given in.

    Args:
        thresholds: from which cosine on crops are linked, as `thresholds_of` makes them; HDBSCAN takes none.
        searches: by modality, what finds the nearest crops of it, such as a gallery's index; else they are compared here.
        advance: called with (0, total) and with counts of nodes whose pairs were looked for.

    Raises:
        CrossreidError: thresholds are missing or have no meaning; crops contradict one another; more pairs than are held.
    """
    options = options or ClusterOptions()
    if thresholds is not None and options.method == "hdbscan":
        raise CrossreidError(NO_THRESHOLD)
    if thresholds is None and options.method != "hdbscan":
        raise CrossreidError(f"--method {options.method} needs a threshold.")
    nodes = nodes_of(crops, tracklets=options.tracklets, frames=options.frames)
    if searches is not None and len(nodes) != len(crops):
        raise CrossreidError("an index of crops cannot find tracklets. Give --no-tracklets, or omit the index.")
    nearest = options.nearest
    if nearest is None:
        nearest = NEAREST if len(nodes) > ALL_PAIRS or searches is not None else 0
    pairs, refused, noise = joined([]), 0, 0
    if thresholds is None:
        found = dense_clusters(nodes.embeddings, options.min_cluster, options.min_samples, search=_only(searches))
        noise = int((found < 0).sum())
        found = np.where(found < 0, len(nodes) + np.arange(len(nodes)), found)
        found = parted(
            np.unique(found, return_inverse=True)[1].reshape(-1), nodes.embeddings, nodes.modalities,
            np.zeros((2, 2)), pairs, nodes.apart,
        )  # fmt: skip
    else:
        pairs = links(
            nodes.embeddings, nodes.modalities, thresholds, nearest or None, searches=searches, advance=advance
        )
        table = thresholds.table()
        if thresholds.of_sets:  # found from the lowest threshold on
            least = table[nodes.kinds[pairs.first], nodes.kinds[pairs.second]]
            pairs = pairs.taken(pairs.cosines >= least.astype(np.float32))
        found, refused = _by_links(nodes, pairs, table, options)
    labels = _by_size(found[nodes.of_crops])
    return Clustering(
        labels, options, thresholds, nodes, len(pairs), nearest or None if thresholds else None, refused, noise,
        label_scores(labels, crops.identities),
    )  # fmt: skip


def _by_links(nodes: Nodes, pairs: Pairs, table: np.ndarray, options: ClusterOptions) -> tuple[np.ndarray, int]:
    if options.method == "agglomerative":
        return agglomerated(nodes.embeddings, nodes.kinds, pairs, table, nodes.apart, options.linkage), 0
    likeness = pairs.cosines - table[nodes.kinds[pairs.first], nodes.kinds[pairs.second]]
    return merged(len(nodes), pairs.first, pairs.second, likeness, nodes.apart)


def _only(searches: Mapping[int, Search] | None) -> Search | None:
    if searches is not None and len(searches) > 1:
        raise CrossreidError("--method hdbscan with an index is for crops of one modality. Omit the index.")
    return None if searches is None else next(iter(searches.values()))


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The same clusters numbered by size, the largest first, and by their first crops."""
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(first))
    return rank[inverse.reshape(-1)]
