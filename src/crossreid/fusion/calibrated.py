"""Fusion by calibrated scores: each score made a probability by a curve of its own, and the probabilities averaged.

WildFusion (Cermak et al., ECCV workshops 2024): scores of different kinds, a cosine and a number of matched points, have
no common scale; as probabilities they do. Weights are equal, or those of a logistic regression of the pairs' labels on the
log-odds of the probabilities, which is not in the paper. One set of curves a pair of modalities, query first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from crossreid.data.records import DataError, Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import pair_name
from crossreid.fusion.curves import RisingCurve, fit_rising_curve

_CERTAIN = 1 - 1e-15


@dataclass(frozen=True, eq=False, slots=True)
class LearnedWeights:
    """Weights of the log-odds of each score, not negative, and what is added; `(S,)` float64 and a number."""

    weights: np.ndarray
    intercept: float

    def __call__(self, probabilities: Sequence[np.ndarray]) -> np.ndarray:
        total = sum(w * _log_odds(p) for w, p in zip(self.weights, probabilities, strict=True) if w > 0)
        return 1 / (1 + np.exp(-(total + self.intercept)))

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        return {"weights": dict(zip(names, self.weights.tolist(), strict=True)), "intercept": self.intercept}


@dataclass(frozen=True, eq=False, slots=True)
class CalibratedFusion:
    """Curves of S scores by pair of modalities (`kinds_of`), and by pair the learned weights, none for equal ones.

    names are those of the scores; pairs says by pair of modalities how many were fitted on, and how many of them are of
    one identity.
    """

    names: tuple[str, ...]
    curves: Mapping[int, tuple[RisingCurve, ...]]
    weights: Mapping[int, LearnedWeights]
    pairs: Mapping[int, tuple[int, int]]

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        scores: Sequence[np.ndarray],
        same: np.ndarray,
        kinds: np.ndarray | None = None,
        *,
        learn_weights: bool = False,
    ) -> CalibratedFusion:
        """Curves of labelled pairs.

        Args:
            names: of the S scores.
            scores: S arrays `(n,)`, larger is more alike.
            same: `(n,)` bool, whether each pair shows one identity.
            kinds: `(n,)`, the pair of modalities of each pair, as `kinds_of` has them; all visible by default.

        Raises:
            CrossreidError: no score, or arrays of different lengths.
            DataError: a pair of modalities has no pair of one identity, or none of two.
        """
        if not scores or len(names) != len(scores):
            raise CrossreidError(f"fusion: expected a name for each score, found {len(names)} for {len(scores)}.")
        lengths = {len(np.asarray(one)) for one in (*scores, same, *([] if kinds is None else [kinds]))}
        if len(lengths) != 1:
            raise CrossreidError(f"fusion: expected each score of the same pairs, found {sorted(lengths)} of them.")
        kinds = np.zeros(len(same), dtype=np.int64) if kinds is None else kinds
        curves, weights, pairs = {}, {}, {}
        for kind in map(int, np.unique(kinds)):
            own = kinds == kind
            labels = np.asarray(same, dtype=bool)[own]
            curves[kind] = tuple(
                fit_rising_curve(np.asarray(values)[own], labels, f"calibration of {name}, {kind_name(kind)}")
                for name, values in zip(names, scores, strict=True)
            )
            pairs[kind] = (len(labels), int(np.count_nonzero(labels)))
            if learn_weights:
                found = [curve(np.asarray(values)[own]) for curve, values in zip(curves[kind], scores, strict=True)]
                weights[kind] = _learned(found, labels)
        return cls(tuple(names), curves, weights, pairs)

    def described(self) -> list[str]:
        """A line a pair of modalities: the pairs that were fitted on, and the weights."""
        return [
            f"{kind_name(kind)}: {count} pairs, {matches} of one identity; "
            + ("equal weights" if kind not in self.weights else ", ".join(self._weighed(kind)))
            for kind, (count, matches) in self.pairs.items()
        ]

    def _weighed(self, kind: int) -> list[str]:
        return [f"{name} {weight:.2f}" for name, weight in zip(self.names, self.weights[kind].weights, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """By pair of modalities: numbers of pairs, each score's curve, and the learned weights."""
        return {
            kind_name(kind): {
                "pairs": self.pairs[kind][0],
                "of one identity": self.pairs[kind][1],
                "curves": {name: curve.to_json() for name, curve in zip(self.names, curves, strict=True)},
                **({"learned": learned.to_json(self.names)} if (learned := self.weights.get(kind)) else {}),
            }
            for kind, curves in self.curves.items()
        }

    def probability(self, scores: Sequence[np.ndarray], kinds: np.ndarray | int = 0) -> np.ndarray:
        """Fused probabilities, in (0, 1), of S arrays of scores of one shape; kinds of that shape, or one for all.

        Raises:
            CrossreidError: another number of scores than was fitted.
            DataError: a pair of modalities that was not fitted.
        """
        if len(scores) != len(self.names):
            raise CrossreidError(f"fusion of {', '.join(self.names)}: found {len(scores)} scores.")
        kinds = np.broadcast_to(np.asarray(kinds), np.shape(scores[0]))
        fused = np.empty(np.shape(scores[0]))
        for kind in map(int, np.unique(kinds)):
            if kind not in self.curves:
                known = ", ".join(map(kind_name, self.curves))
                raise DataError(
                    f"the calibration has pairs of {known} and none of {kind_name(kind)}; calibrate on images of both."
                )
            own = kinds == kind
            found = [curve(np.asarray(one)[own]) for curve, one in zip(self.curves[kind], scores, strict=True)]
            learned = self.weights.get(kind)
            fused[own] = np.mean(found, axis=0) if learned is None else learned(found)
        return fused


def kinds_of(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The pair of modalities of pairs: of values of `Modality` that are broadcast against one another, int64."""
    return 2 * np.asarray(query, dtype=np.int64) + np.asarray(gallery, dtype=np.int64)


def kind_name(kind: int) -> str:
    """`infrared-visible`, of what `kinds_of` gives."""
    return pair_name(Modality(kind // 2), Modality(kind % 2))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    inside = np.minimum(probabilities, _CERTAIN)
    return np.log(inside) - np.log1p(-inside)


def _learned(probabilities: Sequence[np.ndarray], same: np.ndarray) -> LearnedWeights:
    """Weights by logistic regression; a score whose weight comes out negative is left out, so that none may count against.

    Raises:
        DataError: no score speaks for a match.
    """
    odds = np.stack([_log_odds(p) for p in probabilities], axis=1)
    used = list(range(odds.shape[1]))
    while used:
        model = LogisticRegression(C=1.0).fit(odds[:, used], same)
        found = model.coef_[0]
        if (found > 0).all():
            weights = np.zeros(odds.shape[1])
            weights[used] = found
            return LearnedWeights(weights, float(model.intercept_[0]))
        used.remove(used[int(np.argmin(found))])
    raise DataError("learned weights: no score indicates a match on the calibration pairs; use equal weights.")
