"""How reliable probabilities are: is the share p of what has match probability p really a match?

Pairs are weighted, so that a measure refers to a given share of matches. Bins have equal mass (Nixon et al., "Measuring
calibration in deep learning", CVPR workshops 2019): bins of equal width would nearly all be empty, because nearly all
pairs are clearly different. Equal predictions stay in one bin.
"""

from __future__ import annotations

import numpy as np

BINS = 15


def bins_of_equal_mass(predicted: np.ndarray, weights: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin of each prediction, `(n,)`, from 0, by the mid-position of its equals in the total mass."""
    _, place = np.unique(predicted, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[place]


def diagram(
    predicted: np.ndarray, same: np.ndarray, weights: np.ndarray, bin_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean prediction, share of pairs of one identity, and share of the mass, per non-empty bin."""
    mass = np.bincount(bin_of, weights=weights)
    kept = mass > 0
    mean = np.bincount(bin_of, weights=weights * predicted)[kept] / mass[kept]
    share = np.bincount(bin_of, weights=weights * same)[kept] / mass[kept]
    return mean, share, mass[kept] / mass.sum()


def expected_calibration_error(predicted: np.ndarray, same: np.ndarray, weights: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance between prediction and share over bins of equal mass, weighted by mass."""
    mean, share, mass = diagram(predicted, same, weights, bins_of_equal_mass(predicted, weights, bins))
    return float(np.sum(mass * np.abs(mean - share)))


def brier_score(predicted: np.ndarray, same: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean squared distance between prediction and truth (Brier, Monthly Weather Review, 1950)."""
    return float(np.sum(weights * np.square(predicted - same)) / weights.sum())
