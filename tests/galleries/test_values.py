"""Values of an entry: what times mean, and which embeddings can be compared."""

import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.records import DataError
from crossreid.galleries.values import unit_rows, utc_seconds


@given(
    rows=st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3).filter(any), min_size=1
    )
)
def test_rows_of_any_length_become_unit_vectors(rows):
    units = unit_rows(np.array(rows))
    assert units.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(units.astype(float), axis=1), 1, atol=1e-6)
    scale = np.abs(rows).max(axis=1, keepdims=True)
    shrunk = np.array(rows) / scale
    np.testing.assert_allclose(units, shrunk / np.sqrt((shrunk**2).sum(axis=1, keepdims=True)), atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([[1.0, 0.0], [math.nan, 1.0]], "row 1 is NaN or infinite"),
        ([[math.inf, 0.0]], "row 0 is NaN or infinite"),
        ([[1.0, 0.0], [0.0, 0.0]], "row 1 is all zeros"),
        ([1.0, 2.0], r"expected an array \(N, D\), found shape \(2,\)"),
        ([["a", "b"]], "expected numbers"),
    ],
)
def test_embeddings_that_cannot_be_compared_are_refused(bad, said):
    with pytest.raises(DataError, match=said):
        unit_rows(np.array(bad))


def test_times_are_seconds_in_utc():
    noon = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    seconds = 1795255200.0  # 2026-11-21 10:00 UTC, by `date -u -d 2026-11-21T10:00Z +%s`
    assert utc_seconds(noon) == seconds
    for text in ("2026-11-21T10:00:00Z", "2026-11-21 10:00", "2026-11-21T11:00+01:00", "1795255200"):
        assert utc_seconds(text) == seconds
    with pytest.raises(ValueError, match="time '2026': is it a year"):
        utc_seconds("2026")
    assert utc_seconds("2026-01-01") == 1767225600.0  # by `date -u -d 2026-01-01 +%s`
    assert utc_seconds("0002026") == utc_seconds(2026) == 2026.0
    for bad in ("yesterday", math.nan, math.inf, 1e18, None, True):
        with pytest.raises(ValueError, match="time"):
            utc_seconds(bad)
