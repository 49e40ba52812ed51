"""What crops say of one another before any similarity: one tracklet is one, and what one frame shows as two is two.

Clusters are made of nodes. A node is a tracklet, or a crop of none; its embedding is the mean of its crops' embeddings, as
sets of images are embedded elsewhere. So no cluster can part a tracklet. Pairs of nodes that must not be joined are
`apart`: boxes of one picture, and crops of one camera that have frame and time in common. Frames without times are not enough,
as films count them from their own beginning; nor are times without frames, as photographs of a burst share a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.merging import members
from crossreid.data.records import DataError, Modality


@dataclass(frozen=True, eq=False, slots=True)
class Nodes:
    """M nodes, in the order of their first crops.

    embeddings `(M, D)` float32 of length 1; of_crops `(N,)` int64, the node of each crop; modalities `(M,)` int64, of a
    node's first crop; kinds `(M,)` int64, the same, and 2 more of a node of several crops; apart `(P, 2)` int64, the pairs of
    nodes that no cluster may join, first < second, each once.
    """

    embeddings: np.ndarray
    of_crops: np.ndarray
    modalities: np.ndarray
    kinds: np.ndarray
    apart: np.ndarray

    def __len__(self) -> int:
        return len(self.embeddings)


def nodes_of(crops: Crops, *, tracklets: bool = True, frames: bool = True) -> Nodes:
    """The nodes of crops; without `tracklets` each crop is one, without `frames` none are apart.

    Tracklets are told apart as records name them: by camera, identity where it is known, and name.
    Raises `DataError` where crops of one tracklet are of one frame.
    """
    keys: list[Hashable] = [
        row if name is None or not tracklets else (camera, identity, name)
        for row, (camera, identity, name) in enumerate(
            zip(crops.cameras.tolist(), crops.identities, crops.tracklets, strict=True)
        )
    ]
    numbers: dict[Hashable, int] = {}
    of_crops = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    first = np.unique(of_crops, return_index=True)[1]
    single = len(numbers) == len(crops)
    embeddings = crops.embeddings if single else _means(crops.embeddings, of_crops)
    apart = _apart(crops, of_crops) if frames else np.empty((0, 2), np.int64)
    modalities = crops.modalities[first]
    kinds = modalities + len(Modality) * (np.bincount(of_crops) > 1)
    return Nodes(embeddings, of_crops, modalities, kinds, apart)


def _means(rows: np.ndarray, of_rows: np.ndarray) -> np.ndarray:
    """`(M, D)` means of unit rows by their node, of length 1; of rows that cancel out, the first."""
    groups = members(of_rows)
    means = np.empty((len(groups), rows.shape[1]), np.float32)
    for number, group in enumerate(groups):
        own = rows[group]
        mean = own.mean(axis=0, dtype=np.float64)
        length = np.linalg.norm(mean)
        means[number] = mean / length if length > 1e-6 else own[0]
    return means


def _apart(crops: Crops, of_crops: np.ndarray) -> np.ndarray:
    pairs: set[tuple[int, int]] = set()
    for rows in _shown_together(crops):
        for one, other in combinations(rows, 2):
            if crops.boxes[one] == crops.boxes[other] and crops.paths[one] == crops.paths[other]:
                continue  # one crop under two ids
            a, b = int(of_crops[one]), int(of_crops[other])
            if a == b:
                raise DataError(
                    f"{crops.ids[one]} and {crops.ids[other]} are of the tracklet {crops.tracklets[one]!r}, so one identity, but to "
                    "one frame, so two. Correct the tracklets, or drop one of the rules: --no-tracklets or --no-frames."
                )
            pairs.add((min(a, b), max(a, b)))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _shown_together(crops: Crops) -> Iterable[list[int]]:
    """Groups of two crops or more that one frame shows."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    known = (crops.cameras > 0) & (crops.frames >= 0) & ~np.isnan(crops.times)
    for row, (path, box) in enumerate(zip(crops.paths, crops.boxes, strict=True)):
        if box is not None and path:
            groups[path].append(row)
        elif known[row]:
            groups[int(crops.cameras[row]), int(crops.frames[row]), float(crops.times[row])].append(row)
    return (rows for rows in groups.values() if len(rows) > 1)
