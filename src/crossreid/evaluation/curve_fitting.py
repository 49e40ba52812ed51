"""Curves from scores to probabilities, fitted to pairs known to show one identity or two.

Isotonic regression (Zadrozny and Elkan, KDD 2002) assumes only that a higher score is no less likely to be a match;
Platt's sigmoid (Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets) needs
fewer pairs. Both are fitted to weighted pairs, so that those of one identity have the share `prior`. The blocks of
isotonic regression do not depend on the class weights (Brümmer and du Preez, "The PAV algorithm optimizes binary proper
scoring rules", 2013), so its curve at one prior is that at any other with shifted odds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from crossreid.data.records import DataError
from crossreid.evaluation.calibration import Curve, check_prior

FitMethod = Literal["isotonic", "platt"]
_POINTS = 257  # of a stored curve
_LOGITS = np.arange(-14.0, 14.05, 0.1)  # where a sigmoid is sampled; linear interpolation is at most 2e-4 off


def class_weights(same: np.ndarray, prior: float) -> np.ndarray:
    """Return weights `(n,)` that sum to 1, with the share `prior` for pairs of one identity; both kinds must occur."""
    check_prior(prior)
    count = np.count_nonzero(same)
    if not 0 < count < len(same):
        raise DataError("expected pairs of one identity and pairs of two, found only one of these kinds.")
    return np.where(same, prior / count, (1 - prior) / (len(same) - count))


def fit_curve(scores: np.ndarray, same: np.ndarray, prior: float, method: str = "isotonic") -> Curve:
    """Fit the curve of scores `(n,)` to whether each pair shows one identity `(n,)` bool, with at most 257 points.

    No point is more certain than one additional contrary pair would allow.

    Raises:
        DataError: an unknown method, an invalid prior, or pairs of one kind only.
    """
    if method not in get_args(FitMethod):
        raise DataError(f"method {method!r}: expected {' or '.join(get_args(FitMethod))}.")
    same = np.asarray(same, dtype=bool)
    weights = class_weights(same, prior)
    scores = np.asarray(scores, dtype=np.float64)
    return (_isotonic if method == "isotonic" else _platt)(scores, same, weights).thinned(_POINTS)


@dataclass(frozen=True, eq=False, slots=True)
class Steps:
    """The steps of isotonic regression, lowest scores first: arrays `(steps,)` of each one's lowest, highest and mean
    score, its value, and its numbers of pairs of two identities and of one."""

    lowest: np.ndarray
    highest: np.ndarray
    centres: np.ndarray
    values: np.ndarray
    different: np.ndarray
    same: np.ndarray


def isotonic_steps(scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> Steps:
    """Isotonic regression of whether pairs show one identity `(n,)` bool on scores `(n,)`, unweighted by default."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(scores, kind="stable")
    ordered, labels = scores[order], same[order]
    fitted = IsotonicRegression().fit_transform(
        ordered, labels.astype(np.float64), sample_weight=None if weights is None else weights[order]
    )
    starts = np.flatnonzero(np.concatenate(([True], np.diff(fitted) > 0)))
    ends = np.concatenate((starts[1:], [len(ordered)]))
    matches = np.add.reduceat(labels.astype(np.int64), starts)
    centres = np.add.reduceat(ordered, starts) / (ends - starts)
    return Steps(ordered[starts], ordered[ends - 1], centres, fitted[starts], ends - starts - matches, matches)


def _isotonic(scores: np.ndarray, same: np.ndarray, weights: np.ndarray) -> Curve:
    steps = isotonic_steps(scores, same, weights)
    knots, first = np.unique(np.concatenate([steps.lowest, steps.highest]), return_index=True)
    values = np.tile(steps.values, 2)[first]
    of_same, of_different = weights[same][0], weights[~same][0]  # weights of one pair of either kind
    different, agreeing = of_different * steps.different[0], of_same * steps.same[-1]
    least, most = of_same / (of_same + different), agreeing / (agreeing + of_different)
    return Curve(knots, np.clip(values, min(least, most), max(least, most)))


def _platt(scores: np.ndarray, same: np.ndarray, weights: np.ndarray) -> Curve:
    from sklearn.linear_model import LogisticRegression

    count = np.count_nonzero(same)
    target = np.where(same, (count + 1) / (count + 2), 1 / (len(same) - count + 2))
    # Scores that agree in four decimals are merged, which leaves thousands out of millions of pairs.
    cells, cell_of = np.unique(np.round(scores, 4), return_inverse=True)
    right = np.bincount(cell_of, weights=weights * target)
    wrong = np.bincount(cell_of, weights=weights * (1 - target))
    centre, spread = float(cells.mean()), float(cells.std()) or 1.0
    column = ((cells - centre) / spread)[:, None]
    # A target between 0 and 1 means both labels with shares of the weight; weights sum to n, for the solver's
    # tolerance.
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.concatenate([column, column]),
        np.repeat([1, 0], len(cells)),
        sample_weight=np.concatenate([right, wrong]) * len(scores),
    )
    slope, shift = float(fitted.coef_[0, 0]) / spread, float(fitted.intercept_[0])
    if slope <= 0:  # scores that do not rise with similarity are useless
        prior = float(weights[same].sum())
        return Curve(np.array([-1.0, 1.0]), np.array([prior, prior]))
    shift -= slope * centre
    knots = np.concatenate([[-1.0, 1.0], (_LOGITS - shift) / slope])
    knots = np.unique(knots[(knots >= -1) & (knots <= 1)])
    return Curve(knots, 1 / (1 + np.exp(-(slope * knots + shift))))


def cross_fitted(
    scores: np.ndarray,
    same: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray], Curve],
    *,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Return probabilities `(n,)`, each by a curve fitted without the query's identity; NaN if none can be fitted.

    Args:
        first, second: `(n,)` the identities of both sides, numbered from 0.
        fit: returns a curve for scores and labels.
        folds: number of parts of the identities, each predicted from the pairs of the others.
    """
    identities = int(max(first.max(), second.max())) + 1
    of_identity = np.random.default_rng(seed).permutation(identities) % min(folds, identities)
    of_first, of_second = of_identity[first], of_identity[second]
    predicted = np.full(len(scores), np.nan)
    for fold in range(min(folds, identities)):
        asked, seen = of_first == fold, (of_first != fold) & (of_second != fold)
        known = same[seen]
        if asked.any() and known.any() and not known.all():
            predicted[asked] = fit(scores[seen], known)(scores[asked])
    return predicted
