"""Scores as probabilities: how likely a query and a gallery image with a given cosine similarity show the same
identity.

There is one curve per pair of modalities, query first, because distances between visible and infrared images are larger
than within either. A probability refers to a prior: the share of all pairs that show one identity
(`Calibration.prior`).
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
    """Return the name of a pair of modalities in files, for example `infrared-visible`."""
    return f"{query.name.lower()}-{gallery.name.lower()}"


_MANY, _BETWEEN = 1000, 18  # points of a curve; points per line segment for one with fewer
PAIRS = tuple(pair_name(query, gallery) for query in Modality for gallery in Modality)


def moved_to(prior: float, probabilities: np.ndarray, before: float) -> np.ndarray:
    """Convert probabilities at the prior `before` to another prior."""
    factor = prior / (1 - prior) * (1 - before) / before
    return factor * probabilities / (factor * probabilities + 1 - probabilities)


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """A non-decreasing curve through (scores, probabilities), both `(n,)` float64; constant beyond its scores."""

    scores: np.ndarray
    probabilities: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.interp(scores, self.scores, self.probabilities)

    def at_prior(self, prior: float, before: float) -> Curve:
        """Return the curve at another prior than `before`: each point's odds times the ratio of the priors' odds.

        Lines between points become curved, so points are added if there are few.
        """
        scores = self.scores
        if len(scores) < _MANY:
            scores = np.unique(np.concatenate([scores, *np.linspace(scores[:-1], scores[1:], _BETWEEN)[1:-1]]))
        return Curve(scores, moved_to(prior, self(scores), before))

    def thinned(self, most: int) -> Curve:
        """Return the curve with at most `most` points (2 or more), each chosen where the error is largest so far."""
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

    pairs, same: the number of pairs of images (or sets), and of those of one identity; identities: how many are in
        them. pooled: why the curve of all pairs of modalities is used; empty for a pair with its own curve. ece,
        balanced_ece: expected calibration error at the prior, and with equally many pairs of one identity as of two;
        brier: mean squared error of the probability, brier_of_prior that of a constant prior. predicted, observed, mass
        `(bins,)`: the reliability diagram, the mean probability and share of pairs of one identity per bin, and its
        share of all pairs. All of these use curves that have not seen the query's identity. edges `(m + 1,)`,
        same_density, different_density `(m,)`: histograms of the scores. queries, entries: the number of queries
        without a match, and of entries compared with, for the thresholds of the nearest entry. accepted, found: per
        false-accept rate, the share of pairs of one identity that its threshold accepts, and of queries with a match
        whose nearest entry is accepted and correct.
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
    """Curves by pair of modalities, named as in `pair_name`, and cosine thresholds by pair and false-accept rate.

    A score at or above a threshold is accepted. `thresholds` are for pairs: at most that share of pairs of two
    identities is accepted. `nearest` are for the nearest entry of a gallery: at most that share of queries without a
    match is accepted. The other fields say where they come from: `prior`, `method` (isotonic or platt), the model's
    `fingerprint`, `data` (of the pairs), and `measured` by pair. `others` are the calibrations for comparisons with
    sets (tracklets), by `Kind`. `entries` by pair is the number of gallery entries that `nearest` was measured with.
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
        """Return the probabilities of cosine similarities, in the same shape. Raises `DataError` for a pair without a
        curve.
        """
        name = pair_name(query, gallery)
        if name not in self.curves:
            raise DataError(
                f"the calibration has no curve for {name}, only for {', '.join(self.curves)}; calibrate on pairs of both "
                "modalities."
            )
        return self.curves[name](np.asarray(scores, dtype=np.float64))

    def threshold(self, rate: float, query: Modality, gallery: Modality, *, nearest: bool = False) -> float:
        """Return the lowest accepted score of a pair, or with `nearest` of a gallery's nearest entry, at a false-accept
        rate.

        Raises:
            DataError: it has no threshold for that pair or rate; those that it has are named.
        """
        name, kept = pair_name(query, gallery), self.nearest if nearest else self.thresholds
        if name not in kept:
            raise DataError(f"the calibration has no thresholds for {name}, only for {', '.join(kept) or 'no pair'}.")
        if rate not in kept[name]:
            known = ", ".join(f"{each:g}" for each in sorted(kept[name])) or "none"
            raise DataError(
                f"false-accept rate {rate:g}: the calibration has thresholds for {known}. Calibrate with --false-accept-rate {rate:g}."
            )
        return kept[name][rate]

    def of_sets(self, *, query: bool = True, gallery: bool = True) -> Calibration:
        """Return the calibration for queries, galleries or both as sets (tracklets), or for images if there is none."""
        kind: Kind = "sets" if query and gallery else "set-image" if query or gallery else "images"
        return self.others.get(kind, self)

    def at_prior(self, prior: float) -> Calibration:
        """Return it at another prior, including sets; thresholds do not depend on it. Measures still refer to the old
        one.

        Raises:
            DataError: the prior is not between 0 and 1, or the calibration does not state its own.
        """
        check_prior(prior)
        if self.prior is None:
            raise DataError("the calibration does not state the prior of its probabilities. Calibrate again.")
        before = self.prior
        return replace(
            self,
            prior=prior,
            curves={name: curve.at_prior(prior, before) for name, curve in self.curves.items()},
            others={kind: other.at_prior(prior) for kind, other in self.others.items()},
        )


def about(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return `method`, `prior` and `pairs` of a calibration, as services and galleries report it; None without one."""
    if calibration is None:
        return None
    return {"method": calibration.method, "prior": calibration.prior, "pairs": list(calibration.curves)}


def check_prior(prior: float) -> None:
    """Raise `DataError` for an invalid prior."""
    if not 0 < prior < 1:
        raise DataError(f"prior {prior:g}: expected the share of pairs that show one identity, between 0 and 1.")
