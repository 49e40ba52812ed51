"""Ways to make one order of several scores, each as what protocols compare by: distances of queries and a gallery.

* one score alone;
* the mean of cosines, and the cosine of concatenated embeddings (the same where all have length 1);
* reciprocal ranks (Cormack, Clarke and Buettcher, SIGIR 2009): the sum over scores of 1 / (60 + rank), ties at their best
  rank, entries that the protocol leaves out unranked;
* calibrated fusion (`crossreid.fusion.calibrated`).

With local features in two stages, as in WildFusion: the scores of the embeddings are made for all pairs; the best
candidates of each query, its shortlist, are compared by local features and come first in their new order; the rest follows
as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from crossreid.evaluation.distances import distance_blocks
from crossreid.evaluation.features import Features
from crossreid.evaluation.procedure import Compare, ranker_of
from crossreid.evaluation.protocols import Protocol
from crossreid.evaluation.reranking import Blocks
from crossreid.fusion.calibrated import CalibratedFusion, kinds_of

_BEHIND = 2.0  # fused scores lie in (0, 1): less 2, all are behind the shortlist
_CONSTANT = 60  # of reciprocal rank fusion, as published
_BLOCK = 1 << 22  # pairs that are scored at a time


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Some queries and a gallery: their rows among the features, the cosines of each embedding and what is left out.

    cosines: E arrays `(R, G)` float64; excluded and kinds `(R, G)`, bool and pairs of modalities.
    """

    at: slice
    queries: np.ndarray
    gallery: np.ndarray
    cosines: list[np.ndarray]
    excluded: np.ndarray
    kinds: np.ndarray


Combine = Callable[[Block], np.ndarray]  # `(R, G)`, larger is more alike
PairScores = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows of both sides of pairs `(n,)` to scores `(n,)`


def blocks_of(
    features: Features, embeddings: Sequence[np.ndarray], plan: Protocol, queries: np.ndarray, gallery: np.ndarray
) -> Iterator[Block]:
    """The cosines of rows that query against rows of a gallery, some queries at a time."""
    step = max(1, _BLOCK // len(gallery))
    ranker = ranker_of(features, queries, gallery, plan)
    tensors = [torch.from_numpy(one).double() for one in embeddings]
    sides = [distance_blocks(one[queries], one[gallery], "cosine", rows=step) for one in tensors]
    for found in zip(*sides, strict=True):
        at = found[0][0]
        left_out = ranker.excluded(at)
        kinds = kinds_of(features.modalities[queries[at]][:, None], features.modalities[gallery][None])
        yield Block(
            at,
            queries[at],
            gallery,
            [(1 - distances).numpy() for _, distances in found],
            np.zeros(kinds.shape, dtype=bool) if left_out is None else left_out,
            kinds,
        )


def compare_by(features: Features, embeddings: Sequence[np.ndarray], plan: Protocol, combine: Combine) -> Compare:
    """What `crossreid.evaluation.procedure.evaluate` compares by: the combined scores, negated."""

    def compare(queries: np.ndarray, gallery: np.ndarray) -> Blocks:
        for block in blocks_of(features, embeddings, plan, queries, gallery):
            yield block.at, _negated(combine(block))

    return compare


def alone(position: int) -> Combine:
    """The cosine of one embedding."""
    return lambda block: block.cosines[position]


def mean_of_cosines(block: Block) -> np.ndarray:
    return np.mean(block.cosines, axis=0)


def concatenated(embeddings: Sequence[np.ndarray]) -> Combine:
    """The cosine of embeddings one after the other, as long as they are."""
    joined = torch.from_numpy(np.concatenate([one.astype(np.float64) for one in embeddings], axis=1))

    def combine(block: Block) -> np.ndarray:
        found = [part for _, part in distance_blocks(joined[block.queries], joined[block.gallery], "cosine")]
        return 1 - torch.cat(found).numpy()

    return combine


def reciprocal_ranks(scores: Sequence[np.ndarray], excluded: np.ndarray) -> np.ndarray:
    """The sum of 1 / (60 + rank) over scores `(R, G)`; what is excluded takes no rank from others."""
    ranks = [rankdata(np.where(excluded, np.inf, -one), method="min", axis=1) for one in scores]
    return np.sum([1 / (_CONSTANT + rank) for rank in ranks], axis=0)


def by_rank(block: Block) -> np.ndarray:
    return reciprocal_ranks(block.cosines, block.excluded)


def calibrated(fusion: CalibratedFusion) -> Combine:
    return lambda block: fusion.probability(block.cosines, block.kinds)


@dataclass(frozen=True, eq=False, slots=True)
class Shortlist:
    """The best candidates of each query of a block: `(R, B)` columns by falling score, `used` of those that are any.

    Fewer than B entries may be left by the exclusion rule.
    """

    columns: np.ndarray
    used: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, excluded: np.ndarray, size: int) -> Shortlist:
        kept = np.where(excluded, -np.inf, scores)
        size = min(size, kept.shape[1])
        # The whole rows are sorted, stably, so that which of equal candidates is listed does not depend on the block.
        columns = np.argsort(-kept, axis=1, kind="stable")[:, :size]
        return cls(columns, np.isfinite(np.take_along_axis(kept, columns, axis=1)))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of the block and column of each listed pair, `(n,)` each."""
        rows = np.broadcast_to(np.arange(len(self.columns))[:, None], self.columns.shape)
        return rows[self.used], self.columns[self.used]


Reorder = Callable[[Block, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def in_two_stages(first: Combine, size: int, local: PairScores, reorder: Reorder) -> Combine:
    """The shortlist of `first` by what `reorder` makes of it, before all others as `first` has them.

    Args:
        first: scores in (0, 1) of all pairs.
        size: candidates of each query.
        local: scores of listed pairs by their rows among the features.
        reorder: called with the block, the rows and columns of the listed pairs and their local scores; returns scores
            in (0, 1) of the listed pairs.
    """

    def combine(block: Block) -> np.ndarray:
        scores = first(block)
        rows, columns = Shortlist.of(scores, block.excluded, size).pairs()
        found = scores - _BEHIND
        found[rows, columns] = reorder(block, rows, columns, local(block.queries[rows], block.gallery[columns]))
        return found

    return combine


def by_local_score(block: Block, rows: np.ndarray, columns: np.ndarray, local: np.ndarray) -> np.ndarray:
    """The local score alone, not negative, as x / (1 + x)."""
    return local / (1 + local)


def by_rank_with_local(block: Block, rows: np.ndarray, columns: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Reciprocal ranks of the cosines and of the local score, among the listed."""
    listed = np.ones(block.kinds.shape, dtype=bool)
    listed[rows, columns] = False
    scores = np.zeros(block.kinds.shape)
    scores[rows, columns] = local
    return reciprocal_ranks([*block.cosines, scores], listed)[rows, columns]


def calibrated_with_local(fusion: CalibratedFusion) -> Reorder:
    """Fused probabilities of the cosines and, last, the local score."""

    def reorder(block: Block, rows: np.ndarray, columns: np.ndarray, local: np.ndarray) -> np.ndarray:
        scores = [one[rows, columns] for one in block.cosines]
        return fusion.probability([*scores, local], block.kinds[rows, columns])

    return reorder


def _negated(scores: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(-scores))
