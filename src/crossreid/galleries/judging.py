"""The meaning of a search's scores: probabilities by the calibration of the gallery's model, and unknown queries.

A match is accepted if its probability or its score reaches the operator's threshold; if none is, the query is
unknown: the gallery may not hold who or what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.galleries.asking import Asking
from crossreid.galleries.entries import Matches

SIZES_APART = 4  # factor between the gallery's size and the one its thresholds were measured with, to warn


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold to accept a match: a probability, the score of a (nearest entry's) false-accept rate, or none."""

    unknown_below: float | None = None
    false_accept_rate: float | None = None

    def __post_init__(self) -> None:
        if self.unknown_below is not None and self.false_accept_rate is not None:
            raise CrossreidError("--unknown-below and --false-accept-rate: expected only one of them.")
        if self.unknown_below is not None and not 0 < self.unknown_below < 1:
            raise CrossreidError(f"--unknown-below {self.unknown_below:g}: expected a probability between 0 and 1.")

    @property
    def is_set(self) -> bool:
        return self.unknown_below is not None or self.false_accept_rate is not None

    @property
    def in_words(self) -> str:
        """`probability 0.9`, or `the score of false-accept rate 0.01`."""
        if self.unknown_below is not None:
            return f"probability {self.unknown_below:g}"
        return f"the score of false-accept rate {self.false_accept_rate:g}"

    def refuse_without(self, calibration: Calibration | None, where: str) -> None:
        """Raise `CrossreidError`, naming `where`, for a threshold without a calibration, or missing in it."""
        if not self.is_set:
            return
        if calibration is None:
            raise no_calibration(where)
        rate = self.false_accept_rate
        known = sorted({rate for rates in calibration.nearest.values() for rate in rates})
        if rate is not None and rate not in known:
            raise DataError(
                f"--false-accept-rate {rate:g}: the calibration has thresholds for {', '.join(f'{each:g}' for each in known)}. "
                f"Calibrate with --false-accept-rate {rate:g}."
            )


@dataclass(frozen=True, eq=False, slots=True)
class Judgement:
    """Judgements of a query's matches: probabilities `(n,)`, NaN without a curve for them; accepted `(n,)` bool; and
    `known`, whether any match other than the query itself is accepted: None without a threshold or calibration.

    `warning` is set if the gallery size differs greatly from the one the threshold was measured with; else None.
    """

    probabilities: np.ndarray
    accepted: np.ndarray | None
    known: bool | None
    warning: str | None = None


def at_prior(calibration: Calibration | None, prior: float | None, where: str) -> Calibration | None:
    """The calibration at a prior, or unchanged without one. Raises `CrossreidError` if only a prior is given."""
    if prior is None:
        return calibration
    if calibration is None:
        raise no_calibration(where)
    return calibration.at_prior(prior)


def no_calibration(where: str) -> CrossreidError:
    """The error for requesting probabilities without a calibration."""
    return CrossreidError(
        f"{where} has no calibration, which is needed for probabilities. Make one: crossreid calibrate RUN --gallery "
        "GALLERY; or name one: --calibration RUN."
    )


def judge(
    calibration: Calibration | None,
    matches: Matches,
    query: Modality | None,
    threshold: Threshold,
    *,
    as_set: bool = False,
    own: Sequence[bool] = (),
    entries: int = 0,
) -> Judgement:
    """Judge matches by a calibration.

    Args:
        query: its modality; None if unknown, or for images of both.
        as_set: the query has several images: uses curves of tracklets with images, if the calibration has them.
        own: per match, whether it is the query itself, which does not count as known.
        entries: number in the gallery; 0 if unknown.
    """
    count = len(matches.scores)
    probabilities = np.full(count, np.nan)
    least = np.full(count, np.inf)
    warning = None
    if calibration is not None and query is not None:
        curves = calibration.of_sets(query=True, gallery=False) if as_set else calibration
        kinds = np.array([int(entry.modality) for entry in matches.entries], dtype=np.int64)
        for modality in Modality:
            name, rows = pair_name(query, modality), kinds == int(modality)
            if name in curves.curves and rows.any():
                probabilities[rows] = curves.probability(matches.scores[rows], query, modality)
            if threshold.false_accept_rate is not None:
                least[rows] = curves.nearest.get(name, {}).get(threshold.false_accept_rate, np.inf)
        warning = _of_another_size(curves, query, threshold.false_accept_rate, entries)
    if not threshold.is_set or (count and np.isnan(probabilities).all()):
        return Judgement(probabilities, None, None)
    if threshold.unknown_below is not None:
        accepted = np.nan_to_num(probabilities) >= threshold.unknown_below
    else:
        accepted = matches.scores >= least
    itself = np.array(own, dtype=bool) if len(own) else np.zeros(count, bool)
    return Judgement(probabilities, accepted, bool((accepted & ~itself).any()), warning)


def _of_another_size(calibration: Calibration, query: Modality, rate: float | None, entries: int) -> str | None:
    """A warning if the gallery is several times larger or smaller than the one that `rate` was measured with."""
    measured = sum(calibration.entries.get(pair_name(query, modality), 0) for modality in Modality)
    if rate is None or not measured or not entries:
        return None
    if entries >= SIZES_APART * measured:
        means = f"among more strangers the nearest is closer, so more of them than {rate:g} are accepted"
    elif measured >= SIZES_APART * entries:
        means = "among fewer strangers the nearest is farther, so more right matches are refused than necessary"
    else:
        return None
    return (
        f"the threshold of false-accept rate {rate:g} was measured with {measured:,} entries, but the gallery has {entries:,}: "
        f"{means}. Calibrate on about as many images, or state a probability: --unknown-below."
    )


def judge_each(
    calibration: Calibration | None, asking: Asking, found: Sequence[Matches], threshold: Threshold, entries: int = 0
) -> list[Judgement] | None:
    """As `judge`, for each query; None without a calibration."""
    if calibration is None:
        return None
    return [
        judge(
            calibration, matches, asking.modality(query), threshold, as_set=asking.as_set,
            own=[asking.is_own(query, entry) for entry in matches.entries], entries=entries,
        )
        for query, matches in enumerate(found)
    ]  # fmt: skip
