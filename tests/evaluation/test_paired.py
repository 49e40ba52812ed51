"""Paired bootstrap intervals: against SciPy's, and what pairing is for."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from crossreid.errors import CrossreidError
from crossreid.evaluation.paired import paired_differences


def test_intervals_are_scipy_s():
    rng = np.random.default_rng(0)
    own, others = rng.random((60, 2)), rng.random((60, 2))
    found = paired_differences(own, others, resamples=20_000)
    for column, difference in enumerate(found):
        each = own[:, column] - others[:, column]
        low, high = bootstrap((each,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
        assert difference.mean == pytest.approx(each.mean())
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=0.004)


def test_what_is_the_same_query_by_query_leaves_no_doubt():
    values = np.random.default_rng(0).random((50, 1))
    (difference,) = paired_differences(values + 0.01, values)
    assert (difference.low, difference.high) == pytest.approx((0.01, 0.01))
    assert difference.clear


def test_queries_without_a_match_are_left_out_and_none_is_refused():
    own = np.array([[1.0], [np.nan], [0.0]])
    (difference,) = paired_differences(own, np.zeros((3, 1)), resamples=1000)
    assert difference.mean == 0.5
    assert not difference.clear
    with pytest.raises(CrossreidError, match="no query has a match"):
        paired_differences(np.full((2, 1), np.nan), np.zeros((2, 1)))
    with pytest.raises(CrossreidError, match="expected two arrays"):
        paired_differences(np.zeros((2, 1)), np.zeros((3, 1)))
