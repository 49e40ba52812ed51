"""Scores as probabilities: how likely it is that a query and a gallery image of a given cosine similarity show one identity.

One curve a pair of modalities, query first, because distances between light and infrared are larger than those within
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import DataError, Modality


def pair_name(query: Modality, gallery: Modality) -> str:
    """`infrared-visible`, as files name a pair of modalities."""
    return f"{query.name.lower()}-{gallery.name.lower()}"


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """A non-decreasing curve through (scores, probabilities), both `(n,)` float64; flat outside of its scores."""

    scores: np.ndarray
    probabilities: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.interp(scores, self.scores, self.probabilities)


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """Curves by pair of modalities, as `pair_name` has them, and thresholds of the cosine by pair and false-accept rate."""

    curves: Mapping[str, Curve]
    thresholds: Mapping[str, Mapping[float, float]]

    def probability(self, scores: np.ndarray, query: Modality, gallery: Modality) -> np.ndarray:
        """Probabilities of cosine similarities, of the same shape. Raises `DataError` for a pair without a curve."""
        name = pair_name(query, gallery)
        if name not in self.curves:
            raise DataError(
                f"the calibration has no curve of {name}, only of {', '.join(self.curves)}; calibrate on pairs of both modalities."
            )
        return self.curves[name](np.asarray(scores, dtype=np.float64))
