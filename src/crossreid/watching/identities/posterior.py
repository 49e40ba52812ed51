"""Who a tracklet shows: probabilities over all candidates and "nobody known", from calibrated pair probabilities.

A calibration returns p, the probability that two images show the same identity, fitted on pairs with a share c of such
pairs. So the likelihood ratio of a pair is

    r = p / (1 - p) * (1 - c) / c                       (bounded to [1/R, R], as a calibration's evidence is finite)

For an identity with m compared images, all count, but not as m independent observations, as images of the same person
have more in common than the person. They count as the square root of m:

    log r_i = sum of log r of the pairs / sqrt(m)

With N candidate identities, each with the prior (1 - v) / N, and v the prior of none of them, Bayes' rule over these
N + 1 exclusive hypotheses gives

    P(i) = (1 - v) / N * r_i / (v + sum_j (1 - v) / N * r_j),     P(none) = v / (v + sum_j (1 - v) / N * r_j)

the softmax of log-odds with a prior. For several tracklets that must differ in identity, the most likely assignment is
the one with the largest product of these weights, with each identity used at most once and "none of them" as often as
needed: a linear assignment (scipy).
"""

from __future__ import annotations

import math

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import PAIRS, Calibration, Curve

_NEVER = 1e9  # cost of the impossible; log-weights are small in comparison


def log_ratios(probabilities: np.ndarray, share: float, largest: float) -> np.ndarray:
    """Log-likelihood ratios of pairs, with the shape of `probabilities`, calibrated on pairs with a `share` of the same
    identity; within [-log largest, log largest]."""
    with np.errstate(divide="ignore"):
        odds = np.log(probabilities) - np.log1p(-np.asarray(probabilities, np.float64))
    bound = math.log(largest)
    return np.clip(odds - math.log(share / (1 - share)), -bound, bound)


def pair_ratios(
    scores: np.ndarray, query: Modality, gallery: Modality, calibration: Calibration, largest: float
) -> np.ndarray:
    """`log_ratios` of cosines, by the calibration's curve for these modalities and its share of same-identity pairs."""
    share = 0.5 if calibration.prior is None else calibration.prior
    return log_ratios(calibration.probability(scores, query, gallery), share, largest)


def pooled(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Log-likelihood ratios of identities, from the sum over their pairs and the number of pairs, at least 1."""
    return totals / np.sqrt(counts)


def log_weights(ratios: np.ndarray, count: int, new: float) -> np.ndarray:
    """Logarithms of prior times likelihood ratio: `ratios` are logarithms, `count` is N, `new` is v."""
    return ratios + math.log((1 - new) / max(count, 1))


def posterior(weights: np.ndarray, new: float) -> np.ndarray:
    """Probabilities `(n + 1,)` of n hypotheses with `log_weights`; the last is that of none of them."""
    every = np.append(weights, math.log(new))
    shares = np.exp(every - every.max())
    return shares / shares.sum()


def assigned(weights: np.ndarray, new: float) -> np.ndarray:
    """`(T,)`, the column assigned to each of T tracklets, -1 for none, maximising the sum of `weights` `(T, I)`;
    minus infinity is never chosen. `new` is v, times m / (1 - m) if an identity needs probability m against none."""
    from scipy.optimize import linear_sum_assignment

    tracklets, identities = weights.shape
    cost = np.full((tracklets, identities + tracklets), _NEVER)
    cost[:, :identities] = np.where(np.isneginf(weights), _NEVER, -weights)
    cost[np.arange(tracklets), identities + np.arange(tracklets)] = -math.log(new)
    _, columns = linear_sum_assignment(cost)
    return np.where(columns < identities, columns, -1)


def by_threshold(threshold: float, width: float = 0.02) -> Calibration:
    """A substitute for a missing calibration: a pair shows one identity from this cosine on, with a slope of `width` as
    the only transition."""
    curve = Curve(np.array([threshold - width / 2, threshold + width / 2]), np.array([0.0, 1.0]))
    return Calibration(dict.fromkeys(PAIRS, curve), {})
