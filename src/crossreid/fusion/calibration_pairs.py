"""The labelled pairs that a fusion is calibrated on: those that a protocol compares, on images of other identities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import DataError
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import Protocol, Setting
from crossreid.evaluation.sides import sides_of
from crossreid.fusion.aligning import Aligned
from crossreid.fusion.calibrated import CalibratedFusion
from crossreid.fusion.rankings import Block, Combine, PairScores, Shortlist, blocks_of

MOST_PAIRS = 4_000_000  # that are fitted on; of more, random queries are taken


@dataclass(frozen=True, eq=False, slots=True)
class LabelledPairs:
    """n pairs: S scores `(n,)` each, whether each is of one identity `(n,)` bool, and its pair of modalities `(n,)`."""

    scores: list[np.ndarray]
    same: np.ndarray
    kinds: np.ndarray

    def fitted(self, names: Sequence[str], *, learn_weights: bool) -> CalibratedFusion:
        return CalibratedFusion.fit(names, self.scores, self.same, self.kinds, learn_weights=learn_weights)


def all_pairs(
    aligned: Aligned, plan: Protocol, settings: Sequence[Setting], seed: int, *, most: int = MOST_PAIRS
) -> LabelledPairs:
    """Every query with every gallery entry that the protocol lets it see, by the cosines of each embedding."""
    parts = []
    for queries, gallery in _sides(aligned.features, plan, settings):
        chosen = _some(queries, max(1, most // len(gallery)), seed)
        for block in blocks_of(aligned.features, aligned.embeddings, plan, chosen, gallery):
            rows, columns = np.nonzero(~block.excluded)
            parts.append(_pairs(aligned.features, block, rows, columns, []))
    return _together(parts)


def listed_pairs(
    aligned: Aligned, plan: Protocol, settings: Sequence[Setting], seed: int, *, first: Combine, size: int,
    local: PairScores, most: int = MOST_PAIRS,
) -> LabelledPairs:  # fmt: skip
    """The shortlist of each query, by the cosines and the local score: what the second stage will be asked about."""
    parts = []
    for queries, gallery in _sides(aligned.features, plan, settings):
        chosen = _some(queries, max(1, most // size), seed)
        for block in blocks_of(aligned.features, aligned.embeddings, plan, chosen, gallery):
            rows, columns = Shortlist.of(first(block), block.excluded, size).pairs()
            found = local(block.queries[rows], block.gallery[columns])
            parts.append(_pairs(aligned.features, block, rows, columns, [found]))
    return _together(parts)


def check_identities(tested: Features, calibrated: Features) -> str | None:
    """A line about identities that are calibrated on and tested too; None where there are none.

    Raises:
        DataError: they are the very same images.
    """
    alike = sorted(tested.names.tolist()) == sorted(calibrated.names.tolist())
    if alike and np.array_equal(np.sort(tested.embeddings, axis=0), np.sort(calibrated.embeddings, axis=0)):
        raise DataError(
            "the calibration uses the test images themselves, so the scores would not be a test. Expected --calibrate-on "
            "embeddings of images of other identities."
        )
    shared = set(tested.identities.tolist()) & set(calibrated.identities.tolist())
    if not shared:
        return None
    return (
        f"WARNING: {len(shared)} identities, {min(shared)} for example, are both calibrated on and tested; scores are then "
        "better than those of unseen identities."
    )


def _sides(features: Features, plan: Protocol, settings: Sequence[Setting]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that query and rows that answer, of each setting that adds any pair to those before."""
    before: list[tuple[np.ndarray, np.ndarray]] = []
    for setting in settings:
        queries, gallery = sides_of(features, setting, plan)
        if not any(np.isin(queries, ours).all() and np.isin(gallery, theirs).all() for ours, theirs in before):
            before.append((queries, gallery))
            yield queries, gallery


def _some(queries: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(queries) <= most:
        return queries
    return np.sort(np.random.default_rng(seed).choice(queries, most, replace=False))


def _pairs(
    features: Features, block: Block, rows: np.ndarray, columns: np.ndarray, more: list[np.ndarray]
) -> LabelledPairs:
    same = features.identities[block.queries[rows]] == features.identities[block.gallery[columns]]
    return LabelledPairs([*(one[rows, columns] for one in block.cosines), *more], same, block.kinds[rows, columns])


def _together(parts: Sequence[LabelledPairs]) -> LabelledPairs:
    return LabelledPairs(
        [np.concatenate(one) for one in zip(*(part.scores for part in parts), strict=True)],
        np.concatenate([part.same for part in parts]),
        np.concatenate([part.kinds for part in parts]),
    )
