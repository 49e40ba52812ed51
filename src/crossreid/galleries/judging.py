"""What the scores of a search mean: probabilities by the calibration of the gallery's model, and who is unknown.

A match is accepted where its probability, or its score, reaches the operator's threshold; where none is, the query is
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

SIZES_APART = 4  # times that a gallery is larger or smaller than what its thresholds were measured with, to be said


@dataclass(frozen=True, slots=True)
class Threshold:
    """From where on a match is accepted: a probability, or the score of a false-accept rate (of the nearest entry); or neither."""

    unknown_below: float | None = None
    false_accept_rate: float | None = None

    def __post_init__(self) -> None:
        if self.unknown_below is not None and self.false_accept_rate is not None:
            raise CrossreidError("--unknown-below and --false-accept-rate: expected one of them.")
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
        """Raise `CrossreidError` for a threshold that a calibration does not know, or where there is none; `where` is named."""
        if not self.is_set:
            return
        if calibration is None:
            raise no_calibration(where)
        rate = self.false_accept_rate
        known = sorted({rate for rates in calibration.nearest.values() for rate in rates})
        if rate is not None and rate not in known:
            raise DataError(
                f"--false-accept-rate {rate:g}: the calibration has thresholds of {', '.join(f'{each:g}' for each in known)}. "
                f"Calibrate with --false-accept-rate {rate:g}."
            )


@dataclass(frozen=True, eq=False, slots=True)
class Judgement:
    """Of the matches of a query: probabilities `(n,)`, NaN where no curve is for them; accepted `(n,)` bool, and `known`,
    whether any is that is not the query itself: None where there is no threshold, or nothing to judge by.

    `warning` says where the gallery is of quite another size than the threshold was measured with; None elsewhere.
    """

    probabilities: np.ndarray
    accepted: np.ndarray | None
    known: bool | None
    warning: str | None = None


def at_prior(calibration: Calibration | None, prior: float | None, where: str) -> Calibration | None:
    """The calibration at that prior, or as it is without one. Raises `CrossreidError` for a prior without a calibration."""
    if prior is None:
        return calibration
    if calibration is None:
        raise no_calibration(where)
    return calibration.at_prior(prior)


def no_calibration(where: str) -> CrossreidError:
    """The error of asking for probabilities where nothing makes them."""
    return CrossreidError(
        f"{where} has no calibration, by which scores become probabilities. Make one: crossreid calibrate RUN --gallery "
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
    """What a calibration makes of matches.

    Args:
        query: its modality; None where it is not known, or of images of both.
        as_set: the query is of several images; of tracklets with images, where the calibration has that.
        own: of each match whether it is the query itself, which makes nobody known.
        entries: how many the gallery has; 0 where that is not known.
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
    """A line where the gallery has so many times more, or fewer, entries than the thresholds of `rate` were measured with."""
    measured = sum(calibration.entries.get(pair_name(query, modality), 0) for modality in Modality)
    if rate is None or not measured or not entries:
        return None
    if entries >= SIZES_APART * measured:
        means = f"the nearest of more strangers is nearer, so that more of them than {rate:g} are accepted"
    elif measured >= SIZES_APART * entries:
        means = "the nearest of fewer strangers is farther, so that more right matches are refused than need be"
    else:
        return None
    return (
        f"the threshold of false-accept rate {rate:g} was measured with {measured:,} entries, and the gallery has {entries:,}: "
        f"{means}. Calibrate on about as many images, or state a probability: --unknown-below."
    )


def judge_each(
    calibration: Calibration | None, asking: Asking, found: Sequence[Matches], threshold: Threshold, entries: int = 0
) -> list[Judgement] | None:
    """As `judge`, of each query that asks; None without a calibration."""
    if calibration is None:
        return None
    return [
        judge(
            calibration, matches, asking.modality(query), threshold, as_set=asking.as_set,
            own=[asking.is_own(query, entry) for entry in matches.entries], entries=entries,
        )
        for query, matches in enumerate(found)
    ]  # fmt: skip
