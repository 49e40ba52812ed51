"""The cosine from which two crops are linked: given, or derived from a calibration by a probability or false-accept rate.

There is one threshold per pair of modalities, as crops by day and by night are less similar than crops in one light;
and separate ones for tracklets, which are less noisy than single crops, if the calibration has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration, Curve, pair_name
from crossreid.files import key_value

Pair = tuple[Modality, Modality]
# What links in clustering have no direction of: visible-visible, visible-infrared, infrared-infrared.
PAIRS: tuple[Pair, ...] = tuple(combinations_with_replacement(Modality, 2))
NAMES: dict[str, Pair] = {pair_name(*pair): one for one in PAIRS for pair in (one, one[::-1])}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least cosine of a link by pair of modalities; infinite of a pair that is never linked.

    `source` says in words where they are from. `of_sets` are those of a tracklet with a tracklet (sets) and with a single crop
    (set-image), where they are others than those of two crops.
    """

    cosines: Mapping[Pair, float]
    source: str
    of_sets: Mapping[str, Mapping[Pair, float]] = field(default_factory=dict)

    def table(self) -> np.ndarray:
        """`(4, 4)` float64, the threshold of two `Nodes.kinds`; infinite of pairs that there are none of."""
        count = len(Modality)
        table = np.full((2 * count, 2 * count), np.inf)
        for (one, other), value in self.cosines.items():
            mixed, both = (self.of_sets.get(kind, self.cosines)[one, other] for kind in ("set-image", "sets"))
            table[one, other] = table[other, one] = value
            table[one + count, other] = table[other, one + count] = mixed
            table[other + count, one] = table[one, other + count] = mixed
            table[one + count, other + count] = table[other + count, one + count] = both
        return table

    def least(self) -> dict[Pair, float]:
        """The lowest of each pair of modalities, whatever it is of."""
        return {pair: min(each[pair] for each in (self.cosines, *self.of_sets.values())) for pair in self.cosines}

    def to_json(self) -> dict[str, Any]:
        """By the names of pairs, None of a pair that is never linked; those of sets below their kind."""
        return _plain(self.cosines) | {kind: _plain(cosines) for kind, cosines in self.of_sets.items()}


def _plain(cosines: Mapping[Pair, float]) -> dict[str, float | None]:
    return {pair_name(*pair): value if math.isfinite(value) else None for pair, value in cosines.items()}


def pairs_of(modalities: np.ndarray) -> list[Pair]:
    """The pairs of modalities that there are among `modalities` `(N,)`."""
    known = set(np.unique(modalities).tolist())
    return [pair for pair in PAIRS if {int(one) for one in pair} <= known]


def stated(texts: Iterable[str], pairs: Sequence[Pair] = PAIRS) -> dict[Pair, float]:
    """Thresholds as `--threshold` takes them: a cosine for all of `pairs`, or `PAIR=COSINE` for one.

    Raises `CrossreidError` for what is none, and for a pair that is not of `pairs`, those that there are crops of.
    """
    values: dict[Pair, float] = {}
    single: dict[Pair, float] = {}
    for text in texts:
        name, number = key_value(text, "--threshold") if "=" in text else ("", text)
        if name and NAMES.get(name) not in pairs:
            raise CrossreidError(
                f"--threshold {text!r}: expected a pair of the modalities present: {', '.join(pair_name(*one) for one in pairs)}."
            )
        value = _cosine(number, text)
        if name:
            single[NAMES[name]] = value
        else:
            values = dict.fromkeys(pairs, value)
    return values | single


def thresholds_of(
    pairs: Sequence[Pair],
    explicit: Mapping[Pair, float],
    calibration: Calibration | None = None,
    *,
    probability: float | None = None,
    false_accept_rate: float | None = None,
    tracklets: bool = False,
) -> Thresholds:
    """The thresholds of the pairs that there are: the explicit one, else by the calibration.

    With `tracklets` those of tracklets too, where it has them (`Calibration.of_sets`).

    Raises:
        CrossreidError: nothing or both a probability and a rate are stated, or there is no threshold of a pair.
    """
    by_calibration = (probability is not None) + (false_accept_rate is not None)
    if by_calibration > 1:
        raise CrossreidError(
            f"--probability {probability} and --false-accept-rate {false_accept_rate}: expected one of them."
        )
    if by_calibration and calibration is None:
        raise CrossreidError(
            "--probability and --false-accept-rate need a calibration, and none was found. Run `crossreid calibrate RUN` and "
            "name the run with --calibration, or state the cosine with --threshold."
        )
    if by_calibration and all(pair in explicit for pair in pairs):
        raise CrossreidError(
            "--threshold covers all pairs of modalities. Leave --probability and --false-accept-rate out, or "
            "give thresholds for single pairs only, PAIR=COSINE."
        )
    if not by_calibration and not explicit:
        raise CrossreidError(
            "expected a threshold: --threshold COSINE, or, for a calibrated run, --probability P or --false-accept-rate RATE."
        )
    found: dict[Pair, float] = {}
    of_sets: dict[str, dict[Pair, float]] = {}
    for pair in pairs:
        if pair in explicit:
            found[pair] = explicit[pair]
        elif calibration is not None and by_calibration:
            found[pair] = _calibrated(calibration, pair, probability, false_accept_rate)
            for kind, other in calibration.others.items() if tracklets else ():
                known = other if _knows(other, pair) else calibration
                of_sets.setdefault(kind, {})[pair] = _calibrated(known, pair, probability, false_accept_rate)
        else:
            raise CrossreidError(
                f"no threshold for {pair_name(*pair)}: give --threshold {pair_name(*pair)}=COSINE too."
            )
    words = []
    if by_calibration and any(pair not in explicit for pair in pairs):
        words.append(
            f"probability {probability}" if probability is not None else f"false-accept rate {false_accept_rate}"
        )
    if any(pair in explicit for pair in pairs):
        words.append("stated")
    return Thresholds(found, ", ".join(words), {kind: found | own for kind, own in of_sets.items()})


def score_of(curve: Curve, probability: float) -> float:
    """The least cosine whose calibrated probability is at least that; infinite where the curve never gets there."""
    if not len(curve.scores) or curve.probabilities[-1] < probability:
        return math.inf
    after = int(np.searchsorted(curve.probabilities, probability))  # the first that is at least that
    if after == 0:
        return -1.0
    low, high = curve.probabilities[after - 1], curve.probabilities[after]
    share = (probability - low) / (high - low)
    return float(curve.scores[after - 1] + share * (curve.scores[after] - curve.scores[after - 1]))


def _knows(calibration: Calibration, pair: Pair) -> bool:
    return any(pair_name(*each) in calibration.curves for each in (pair, pair[::-1]))


def _calibrated(
    calibration: Calibration, pair: Pair, probability: float | None, false_accept_rate: float | None
) -> float:
    """Of both directions of a pair, where both are calibrated, the stricter."""
    directed = dict.fromkeys((pair, pair[::-1]))
    known: Iterable[str] = calibration.curves
    if probability is not None:
        if not 0 < probability <= 1:
            raise CrossreidError(f"--probability {probability}: expected more than 0 and at most 1.")
        curves = [calibration.curves.get(pair_name(*each)) for each in directed]
        values = [score_of(curve, probability) for curve in curves if curve is not None]
    else:
        assert false_accept_rate is not None
        known = calibration.thresholds
        values = [calibration.threshold(false_accept_rate, *each) for each in directed if pair_name(*each) in known]
    if not values:
        raise CrossreidError(
            f"the calibration lacks {pair_name(*pair)}, it has {', '.join(known) or 'nothing'}. Give --threshold "
            f"{pair_name(*pair)}=COSINE for it."
        )
    return max(values)


def _cosine(text: str, given: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise CrossreidError(f"--threshold {given!r}: expected a cosine from -1 to 1, or PAIR=COSINE.")
    return value
