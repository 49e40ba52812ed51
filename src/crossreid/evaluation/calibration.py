"""Scores as probabilities: how likely it is that a query and a gallery image of a given cosine similarity show one identity.

One curve a pair of modalities, query first, because distances between light and infrared are larger than those within
either. A probability is meant at a prior: the share of all pairs that show one identity (`Calibration.prior`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from crossreid.data.records import DataError, Modality

Kind = Literal["images", "sets", "set-image"]
KINDS: tuple[Kind, ...] = ("images", "sets", "set-image")  # what is compared: images, sets of them, a set with an image


def pair_name(query: Modality, gallery: Modality) -> str:
    """`infrared-visible`, as files name a pair of modalities."""
    return f"{query.name.lower()}-{gallery.name.lower()}"


_MANY, _BETWEEN = 1000, 18  # points of a curve; and for one that has fewer, points of each of its lines
PAIRS = tuple(pair_name(query, gallery) for query in Modality for gallery in Modality)


def moved_to(prior: float, probabilities: np.ndarray, before: float) -> np.ndarray:
    """Probabilities at the prior `before` as they are at another one."""
    factor = prior / (1 - prior) * (1 - before) / before
    return factor * probabilities / (factor * probabilities + 1 - probabilities)


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """A non-decreasing curve through (scores, probabilities), both `(n,)` float64; flat outside of its scores."""

    scores: np.ndarray
    probabilities: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.interp(scores, self.scores, self.probabilities)

    def at_prior(self, prior: float, before: float) -> Curve:
        """The curve at another prior than `before`: the odds of each point times the quotient of the priors' odds.

        Lines between points become bent: of few points more are made.
        """
        scores = self.scores
        if len(scores) < _MANY:
            scores = np.unique(np.concatenate([scores, *np.linspace(scores[:-1], scores[1:], _BETWEEN)[1:-1]]))
        return Curve(scores, moved_to(prior, self(scores), before))

    def thinned(self, most: int) -> Curve:
        """At most so many of its points (2 or more), chosen one by one where the curve is farthest from those before."""
        if len(self.scores) <= most:
            return self
        kept = [0, len(self.scores) - 1]
        while len(kept) < most:
            away = np.abs(np.interp(self.scores, self.scores[kept], self.probabilities[kept]) - self.probabilities)
            farthest = int(away.argmax())
            if away[farthest] == 0:
                break
            kept = sorted([*kept, farthest])
        return Curve(self.scores[kept], self.probabilities[kept])


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """What a curve and its thresholds were made from, and how good they are.

    pairs, same: pairs of images (or sets), and those of one identity; identities: that are in them. pooled: why the curve
    of all pairs of modalities together stands here; empty of one with a curve of its own. ece, balanced_ece: expected
    calibration error at the prior, and with as many pairs of one identity as of two; brier: mean squared error of the
    probability, brier_of_prior that of the prior in its place. predicted, observed, mass `(bins,)`: the reliability
    diagram, mean probability and share of pairs of one identity of each bin, and its share of all. All of these are of
    curves that have not seen the query's identity. edges `(m + 1,)`, same_density, different_density `(m,)`: histograms of
    the scores. queries, entries: without a match, and what they were compared with, for the thresholds of the nearest.
    accepted, found: by false-accept rate, the share of pairs of one identity that its threshold accepts, and of queries
    with a match whose nearest entry is accepted and right.
    """

    pairs: int
    same: int
    identities: int
    ece: float
    balanced_ece: float
    brier: float
    brier_of_prior: float
    predicted: np.ndarray
    observed: np.ndarray
    mass: np.ndarray
    edges: np.ndarray
    same_density: np.ndarray
    different_density: np.ndarray
    queries: int
    entries: int
    accepted: Mapping[float, float]
    found: Mapping[float, float]
    pooled: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """Curves by pair of modalities, as `pair_name` has them, and thresholds of the cosine by pair and false-accept rate.

    A score at or above a threshold is accepted. `thresholds` are of pairs: of pairs of two identities at most the share of
    that rate is accepted. `nearest` are of the nearest entry of a gallery: of queries without a match at most that share
    is accepted. The rest says where they come from: `prior`, `method` (isotonic or platt), the model's `fingerprint`,
    `data` (what the pairs are of), and `measured` by pair. `others` are the calibrations of comparisons with sets
    (tracklets), by their `Kind`. `entries` by pair says how many gallery entries `nearest` was measured with.
    """

    curves: Mapping[str, Curve]
    thresholds: Mapping[str, Mapping[float, float]]
    nearest: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    prior: float | None = None
    method: str = ""
    fingerprint: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)
    others: Mapping[str, Calibration] = field(default_factory=dict)
    entries: Mapping[str, int] = field(default_factory=dict)

    def probability(self, scores: np.ndarray, query: Modality, gallery: Modality) -> np.ndarray:
        """Probabilities of cosine similarities, of the same shape. Raises `DataError` for a pair without a curve."""
        name = pair_name(query, gallery)
        if name not in self.curves:
            raise DataError(
                f"the calibration has no curve of {name}, only of {', '.join(self.curves)}; calibrate on pairs of both "
                "modalities."
            )
        return self.curves[name](np.asarray(scores, dtype=np.float64))

    def threshold(self, rate: float, query: Modality, gallery: Modality, *, nearest: bool = False) -> float:
        """The score from which on a pair, or with `nearest` a gallery's nearest entry, is accepted at a false-accept rate.

        Raises:
            DataError: a pair or a rate that it has no threshold of; those that it has are named.
        """
        name, kept = pair_name(query, gallery), self.nearest if nearest else self.thresholds
        if name not in kept:
            raise DataError(f"the calibration has no thresholds of {name}, only of {', '.join(kept) or 'no pair'}.")
        if rate not in kept[name]:
            known = ", ".join(f"{each:g}" for each in sorted(kept[name])) or "none"
            raise DataError(
                f"false-accept rate {rate:g}: the calibration has thresholds of {known}. Calibrate with --false-accept-rate {rate:g}."
            )
        return kept[name][rate]

    def of_sets(self, *, query: bool = True, gallery: bool = True) -> Calibration:
        """That of comparisons in which the query, the gallery or both are sets (tracklets); of images where there is none."""
        kind: Kind = "sets" if query and gallery else "set-image" if query or gallery else "images"
        return self.others.get(kind, self)

    def at_prior(self, prior: float) -> Calibration:
        """The same at another prior, with sets; thresholds do not depend on it. What was measured is of the old one.

        Raises:
            DataError: no prior between 0 and 1, or a calibration that does not say its own.
        """
        check_prior(prior)
        if self.prior is None:
            raise DataError("the calibration does not say at which prior its probabilities are. Calibrate again.")
        before = self.prior
        return replace(
            self,
            prior=prior,
            curves={name: curve.at_prior(prior, before) for name, curve in self.curves.items()},
            others={kind: other.at_prior(prior) for kind, other in self.others.items()},
        )


def about(calibration: Calibration | None) -> dict[str, Any] | None:
    """`method`, `prior` and `pairs` of a calibration, as services and galleries say what they have; None without one."""
    if calibration is None:
        return None
    return {"method": calibration.method, "prior": calibration.prior, "pairs": list(calibration.curves)}


def check_prior(prior: float) -> None:
    """Raise `DataError` for a prior that is none."""
    if not 0 < prior < 1:
        raise DataError(f"prior {prior:g}: expected the share of pairs that show one identity, between 0 and 1.")
