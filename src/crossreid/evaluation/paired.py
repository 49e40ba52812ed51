"""Is one model better than another on the same queries? Differences with paired bootstrap intervals over the queries.

Queries are drawn with replacement, the same ones for both models, and each draw gives a mean difference; the interval
holds the central share of these means (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13). It shows
what another sample of queries would do to the difference, not what another training run would: for that, compare
several seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossreid.errors import CrossreidError

RESAMPLES = 10_000
_DRAWN = 1 << 23  # query indices drawn at a time


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over queries, and the ends of its interval; fractions."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Return whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def paired_differences(
    own: np.ndarray, others: np.ndarray, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Return the differences `own` minus `others` of K figures with their intervals, all from the same draws.

    Args:
        own, others: `(Q, K)` the value of each figure per query; a query that is NaN in either is left out.
        confidence: the share of the draws' means in the interval.
        seed: of the draws.

    Raises:
        CrossreidError: shapes differ, or no query is left.
    """
    if own.shape != others.shape or own.ndim != 2:
        raise CrossreidError(
            f"paired differences: expected two arrays (Q, K) of the same shape, found {own.shape} and {others.shape}."
        )
    each = own - others
    each = each[~np.isnan(each).any(axis=1)]
    if not len(each):
        raise CrossreidError("paired differences: no query has a match in both.")
    generator, count = np.random.default_rng(seed), len(each)
    step = max(1, _DRAWN // count)
    means = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(times @ each / count)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return [Difference(float(m), float(a), float(b)) for m, a, b in zip(each.mean(axis=0), low, high, strict=True)]
