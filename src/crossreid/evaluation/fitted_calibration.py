"""From compared embeddings to a calibration: curve, measures and thresholds for every pair of modalities.

A pair of modalities with too few pairs of images uses the curve and the thresholds of all pairs together, and says so.
Probabilities are measured on pairs whose query identity the curve has not seen (`cross_fitted`); the stored curve is
fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration, Curve, Measured, moved_to, pair_name
from crossreid.evaluation.curve_fitting import class_weights, cross_fitted, fit_curve
from crossreid.evaluation.open_set import score_threshold
from crossreid.evaluation.reliability import bins_of_equal_mass, brier_score, diagram, expected_calibration_error
from crossreid.evaluation.scored_pairs import Nearest, ScoredPairs, Sides, pooled

RATES = (0.001, 0.01, 0.05, 0.1)
FEW, FEW_IDENTITIES = 30, 5  # pairs of either kind, and identities with pairs, that a curve needs
_HISTOGRAM = 40  # bins of the scores
_Directed = tuple[Modality, Modality]


def share_of_same(sides: Sides, *, seed: int = 0) -> float:
    """Return the share of all pairs of images that show one identity: the default prior."""
    together = pooled(list(_undirected(sides, seed).values()))
    refuse_few(together, "images")
    return float(np.mean(together.same))


def calibration_of(
    sides: Sides,
    *,
    prior: float,
    method: str = "isotonic",
    rates: Sequence[float] = RATES,
    open_set: bool = False,
    seed: int = 0,
    what: str = "images",
    say: Callable[[str], object] = lambda text: None,
) -> Calibration:
    """Return the calibration for the comparisons of `sides`.

    Args:
        prior: the share of pairs that show one identity, that the probabilities refer to.
        method: isotonic or platt.
        rates: false-accept rates to compute thresholds for.
        open_set: whether queries without a match in the gallery set the thresholds of the nearest entry, if there are
            any; else every image does, compared with all images of other identities.
        what: what is compared, for messages.
        seed: of the identity folds, and of drawing images if there are very many pairs.
        say: called with a line for each pair of modalities that uses the common curve.

    Raises:
        DataError: too few pairs, an unknown method or an invalid prior.
        CrossreidError: an invalid rate.
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise CrossreidError(f"false-accept rate {rate:g}: expected a rate between 0 and 1.")
    rates = sorted(set(rates))
    by_pair = _undirected(sides, seed)
    together = pooled(list(by_pair.values()))
    refuse_few(together, what)
    fit = partial(fit_curve, prior=prior, method=method)
    fitted: dict[_Directed | None, tuple[Curve, ScoredPairs, np.ndarray]] = {}
    curves, thresholds, nearest, measured = {}, {}, {}, {}
    for query in Modality:
        for gallery in Modality:
            pair = min(query, gallery), max(query, gallery)
            few = _few(by_pair[pair])
            if few and not len(by_pair[pair]):
                continue  # the data have no such pairs
            key = None if few else pair
            if key not in fitted:
                own = together if few else by_pair[pair]
                unseen = cross_fitted(own.scores, own.same, own.first, own.second, fit, seed=seed)
                fitted[key] = fit(own.scores, own.same), own, unseen
            curve, pairs, predicted = fitted[key]
            name, rows = pair_name(query, gallery), sides.nearest(query, gallery, by_role=open_set)
            if few:
                say(f"{name}: {few}; uses the curve of all pairs together.")
            impostors = _impostors(rows, open_set)
            curves[name] = curve
            thresholds[name] = {rate: _threshold(pairs.scores[~pairs.same], rate) for rate in rates}
            nearest[name] = {rate: _threshold(impostors, rate) for rate in rates if len(impostors)}
            measured[name] = _measured(
                pairs, predicted, prior, thresholds[name], rows, len(impostors), nearest[name], few
            )
    entries = {name: each.entries for name, each in measured.items()}
    return Calibration(curves, thresholds, nearest, prior, method, measured=measured, entries=entries)


def refuse_few(pairs: ScoredPairs, what: str) -> None:
    """Raise `DataError` if there are too few pairs for a curve."""
    if few := _few(pairs):
        raise DataError(
            f"too few pairs of {what} to calibrate with: {few}. Expected at least {FEW} pairs of one identity by "
            f"different cameras (or unknown ones), of at least {FEW_IDENTITIES} identities, and {FEW} of two identities."
        )


def _few(pairs: ScoredPairs) -> str:
    """Say what there is too little of for a curve; "" if there is enough."""
    same = int(np.count_nonzero(pairs.same))
    if same < FEW or pairs.identities < FEW_IDENTITIES or len(pairs) - same < FEW:
        return (
            f"{same} pairs of one identity ({pairs.identities} identities) and {len(pairs) - same} of two are too few"
        )
    return ""


def _undirected(sides: Sides, seed: int) -> dict[_Directed, ScoredPairs]:
    kinds = list(Modality)
    return {(one, other): sides.pairs(one, other, seed=seed) for one in kinds for other in kinds if one <= other}


def _impostors(rows: Nearest, open_set: bool) -> np.ndarray:
    """Return the nearest scores that a threshold has to reject."""
    without = ~rows.mated
    scores = rows.best[without] if open_set and without.any() and rows.mated.any() else rows.impostor
    return scores[np.isfinite(scores)]


def _threshold(impostors: np.ndarray, rate: float) -> float:
    return max(-1.0, score_threshold(impostors, rate))


def _measured(
    pairs: ScoredPairs, predicted: np.ndarray, prior: float, thresholds: dict[float, float], rows: Nearest, impostors: int,
    nearest: dict[float, float], few: str,
) -> Measured:  # fmt: skip
    there = np.isfinite(predicted)
    predicted, same = predicted[there], pairs.same[there]
    weights, even = class_weights(same, prior), class_weights(same, 0.5)
    at_half = moved_to(0.5, predicted, prior)
    shown = diagram(predicted, same, weights, bins_of_equal_mass(at_half, even))
    edges = np.linspace(pairs.scores.min(), max(pairs.scores.max(), pairs.scores.min() + 1e-6), _HISTOGRAM + 1)
    mated = rows.mated
    return Measured(
        pairs=len(pairs), same=int(np.count_nonzero(pairs.same)), identities=pairs.identities,
        ece=expected_calibration_error(predicted, same, weights),
        balanced_ece=expected_calibration_error(at_half, same, even),
        brier=brier_score(predicted, same, weights), brier_of_prior=prior * (1 - prior),
        predicted=shown[0], observed=shown[1], mass=shown[2], edges=edges,
        same_density=np.histogram(pairs.scores[pairs.same], edges, density=True)[0],
        different_density=np.histogram(pairs.scores[~pairs.same], edges, density=True)[0],
        queries=impostors, entries=rows.entries,
        accepted={rate: float(np.mean(pairs.scores[pairs.same] >= least)) for rate, least in thresholds.items()},
        found={
            rate: float(np.mean((rows.right & (rows.best >= least))[mated])) for rate, least in nearest.items() if mated.any()
        },
        pooled=few,
    )  # fmt: skip
