"""A score as a probability by a curve that strictly rises: isotonic regression leaves steps, whose ties a ranking would feel.

As in WildFusion (Cermak et al., "WildFusion: Individual Animal Identification with Calibrated Similarity Fusion", ECCV
workshops 2024) the isotonic fit is interpolated. Here the line goes through the centres of the fit's steps, and a
millionth of a curve that rises everywhere is added, also outside of the scores that were fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.data.records import DataError
from crossreid.evaluation.calibration import Curve
from crossreid.evaluation.curve_fitting import isotonic_steps

RISE = 1e-6  # the share of what rises everywhere: no probability moves by more


@dataclass(frozen=True, eq=False, slots=True)
class RisingCurve:
    """A `Curve` that strictly rises: what it is called with keeps its order, however near two scores are.

    centre and spread are the median and the standard deviation of the scores that were fitted on; scores that differ by
    less than a billionth of the spread may become equal.
    """

    curve: Curve
    centre: float
    spread: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities in (0, 1) of scores of any shape, float64."""
        away = (np.asarray(scores, dtype=np.float64) - self.centre) / self.spread
        return (1 - 2 * RISE) * self.curve(scores) + RISE * (1 + away / (1 + np.abs(away)))

    def to_json(self) -> dict[str, list[float]]:
        return {"scores": self.curve.scores.tolist(), "probabilities": self.curve.probabilities.tolist()}


def fit_rising_curve(scores: np.ndarray, same: np.ndarray, what: str = "calibration") -> RisingCurve:
    """The curve of labelled pairs: their scores `(n,)`, and whether each pair shows one identity `(n,)` bool.

    A score that is the same for all pairs becomes the share of pairs of one identity.

    Raises:
        DataError: that names `what` where there are no pairs of one identity, none of two, or a score is not finite.
    """
    scores, same = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    matches = int(np.count_nonzero(same))
    if not 0 < matches < len(same):
        kind = "two different identities" if matches else "one identity"
        raise DataError(
            f"{what}: none of {len(same)} pairs is of {kind}; a curve needs pairs of either kind. Calibrate on more images."
        )
    if not np.isfinite(scores).all():
        raise DataError(f"{what}: scores must be finite, found {scores[~np.isfinite(scores)][0]}.")
    low = 1 / (len(same) + 1)  # no pair is certain because so many were seen
    steps = isotonic_steps(scores, same)
    spread = float(
        np.sort(scores).std()
    )  # in an order of its own, so that sums round alike whatever order pairs came in
    curve = Curve(steps.centres, np.clip(steps.values, low, 1 - low))
    return RisingCurve(curve, float(np.median(scores)), spread if spread > 0 else 1.0)
