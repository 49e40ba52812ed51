"""Pairs of embeddings with their scores and whether they show one identity: the input of calibrations.

Left out are pairs that a protocol leaves out; pairs of one identity by one camera, which often show the same moment and
say nothing about other moments; pairs of one tracklet; and pairs of two images that are not queries: whether two
distractors are one identity is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.exclusion import NO_EXCLUSION, SAME_IDENTITY_AND_CAMERA, Exclusion
from crossreid.evaluation.features import Features

MOST = 4_000_000  # pairs per pair of modalities; beyond that, images are sampled
_BLOCK = 512  # queries at a time


@dataclass(frozen=True, eq=False, slots=True)
class ScoredPairs:
    """n pairs: scores `(n,)` float64 cosines; same `(n,)` bool; first, second `(n,)` int64, identity numbers."""

    scores: np.ndarray
    same: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def identities(self) -> int:
        """Return the number of identities in pairs of one identity."""
        return len(np.unique(self.first[self.same]))


@dataclass(frozen=True, eq=False, slots=True)
class Nearest:
    """For queries, by row: score of the nearest kept entry of another identity and of any, -inf if there is none,
    whether the latter shows the query's identity, and whether the gallery has an entry of it. `entries`: the size of
    the gallery."""

    impostor: np.ndarray
    best: np.ndarray
    right: np.ndarray
    mated: np.ndarray
    entries: int


def calibrated_exclusion(exclusion: Exclusion) -> Exclusion:
    """Return a protocol's rule, which also leaves out an identity's images of one camera."""
    if exclusion.identity_and_camera or exclusion.camera:
        return exclusion
    own = SAME_IDENTITY_AND_CAMERA.description
    said = own if exclusion == NO_EXCLUSION else f"{exclusion.description}; {own}"
    return replace(exclusion, identity_and_camera=True, description=said)


class Sides:
    """Two sets of features to compare, or one with itself: rows of each modality, and which pairs are left out."""

    def __init__(self, left: Features, right: Features, exclusion: Exclusion, junk: tuple[str, ...] = ()) -> None:
        self._exclusion = calibrated_exclusion(exclusion)
        self._one_set = left is right
        both = (left, right)
        names = np.unique(np.concatenate([features.identities for features in both]))
        films = np.unique(np.concatenate([features.tracklets for features in both]))  # type: ignore[type-var]
        self._sides = [_Side(features, names, films, junk) for features in both]
        asked = np.concatenate([side.identity[side.asks] for side in self._sides])
        for side in self._sides:
            side.is_asked = np.isin(side.identity, asked)

    def pairs(self, query: Modality, gallery: Modality, *, most: int = MOST, seed: int = 0) -> ScoredPairs:
        """Return pairs of the two modalities, each once whichever side is the query; about `most` of them.

        If there are more, images of both sides are sampled, which preserves the share of pairs of one identity.
        """
        directions = [(query, gallery)]
        if not self._one_set and query != gallery:  # a visible set and an infrared image, and vice versa
            directions.append((gallery, query))
        parts = [self._directed(*each, most // len(directions), seed) for each in directions]
        return pooled(parts)

    def _directed(self, query: Modality, gallery: Modality, most: int, seed: int) -> ScoredPairs:
        left, right = self._sides
        rows, columns = left.rows(query), right.rows(gallery)
        mirrored = self._one_set and query == gallery  # each pair occurs twice
        total = len(rows) * len(columns) // (2 if mirrored else 1)
        if total > most:
            share, generator = (most / total) ** 0.5, np.random.default_rng(seed)
            rows = _drawn(rows, share, generator)
            columns = rows if mirrored else _drawn(columns, share, generator)
        found = [(np.empty(0), np.empty(0, bool), np.empty(0, np.int64), np.empty(0, np.int64))]
        for block in _blocks(rows):
            scores, kept, same = self._compared(block, columns)
            kept &= left.is_asked[block][:, None] | right.is_asked[columns]
            if mirrored:
                kept &= block[:, None] < columns
            at, to = kept.nonzero()
            found.append((scores[at, to], same[at, to], left.identity[block[at]], right.identity[columns[to]]))
        return ScoredPairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def nearest(self, query: Modality, gallery: Modality, *, by_role: bool = False) -> Nearest:
        """Return the nearest image of the other modality for each image of one; `by_role`: for queries, among gallery
        images.
        """
        left, right = self._sides
        rows, columns = left.rows(query), right.rows(gallery)
        if by_role:
            rows, columns = rows[left.asks[rows]], columns[right.answers[columns]]
        parts: list[tuple[np.ndarray, ...]] = []
        for block in _blocks(rows) if len(columns) else ():
            scores, kept, same = self._compared(block, columns)
            kept_scores = np.where(kept, scores, -np.inf)
            at = kept_scores.argmax(1)
            each = np.arange(len(block))
            right_one = same[each, at] & kept[each, at]
            impostor = np.where(same, -np.inf, kept_scores).max(1)
            parts.append((impostor, kept_scores[each, at], right_one, (same & kept).any(1)))
        if not parts:
            return Nearest(np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, bool), len(columns))
        impostor, best, right_one, mated = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Nearest(impostor, best, right_one, mated, len(columns))

    def _compared(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scores, whether a pair counts, and whether it shows one identity; each `(rows, columns)`."""
        left, right = self._sides
        scores = np.clip(left.unit[rows] @ right.unit[columns].T, -1.0, 1.0)
        same = left.identity[rows][:, None] == right.identity[columns]
        ours, theirs = left.camera[rows][:, None], right.camera[columns]
        rule, one_camera = self._exclusion, (ours == theirs) & (ours > 0)
        dropped = np.zeros_like(same)
        if rule.camera:
            dropped |= one_camera
        if rule.identity_and_camera:
            within = one_camera & same
            if rule.frames is not None:
                apart = np.abs(left.frame[rows][:, None] - right.frame[columns])
                unknown = (left.frame[rows][:, None] < 0) | (right.frame[columns] < 0)
                within &= unknown | (apart <= rule.frames)
            dropped |= within
        for asking, skipped in rule.places:
            dropped |= ((ours == asking) & (theirs == skipped)) | ((ours == skipped) & (theirs == asking))
        tracklets = left.tracklet[rows][:, None]
        dropped |= (tracklets == right.tracklet[columns]) & (tracklets >= 0)
        if self._one_set:
            dropped |= rows[:, None] == columns
        return scores, ~dropped, same


class _Side:
    """Features as numeric columns: unit rows in float64, identities and tracklets by index, -1 if unknown."""

    def __init__(self, features: Features, names: np.ndarray, films: np.ndarray, junk: tuple[str, ...]) -> None:
        rows = features.embeddings.astype(np.float64)
        self.unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
        self.identity = np.searchsorted(names, features.identities)
        self.camera = features.cameras
        assert features.frames is not None
        assert features.tracklets is not None
        self.frame = features.frames
        self.tracklet = np.where(features.tracklets == "", -1, np.searchsorted(films, features.tracklets))
        self.asks = np.isin(features.roles, ("query", "both"))
        self.answers = np.isin(features.roles, ("gallery", "both"))
        self.is_asked = np.ones(len(rows), bool)
        self._modality = features.modalities
        self._usable = ~np.isin(features.identities, junk)

    def rows(self, modality: Modality) -> np.ndarray:
        return np.flatnonzero((self._modality == int(modality)) & self._usable)


def _drawn(rows: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    return np.sort(generator.permutation(rows)[: max(1, int(share * len(rows)))])


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def pooled(parts: Sequence[ScoredPairs]) -> ScoredPairs:
    """Combine the pairs of several pairs of modalities."""
    return ScoredPairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ScoredPairs.__slots__))
