"""Entries, batches and filters: what is refused, by name, and what times and prefixes mean."""

import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.records import INFRARED, DataError
from crossreid.galleries.entries import Entries, Entry
from crossreid.galleries.filters import Filter, prefix_end
from crossreid.galleries.values import unit_rows, utc_seconds

# What UTF-8 holds: all characters but surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(prefix=TEXTS, other=TEXTS)
def test_texts_of_a_prefix_are_a_range(prefix, other):
    end = prefix_end(prefix)
    for text in (other, prefix + other, other + prefix):
        for order in (str, str.encode):  # by code points as Python, by bytes as databases
            inside = order(text) >= order(prefix) and (end is None or order(text) < order(end))
            assert inside == text.startswith(prefix)


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": ["a", "a"]}, "id 'a' is given twice"),
        ({"ids": ["a"]}, "one of ids for each of 2 embeddings, found 1"),
        ({"ids": ["a", "b\0"]}, "NUL"),
        ({"ids": ["a", "\ud800"]}, "not valid Unicode"),
        ({"ids": ["a", "é" * 257]}, "514 bytes of UTF-8; at most 512"),
        ({"ids": ["a", 7]}, "id: expected text, found int"),
        ({"identities": ["", None]}, "identity is empty"),
        ({"cameras": [0, -1]}, "cameras are whole numbers from 0"),
        ({"cameras": [0.5, 1]}, "expected cameras as whole numbers"),
        ({"modalities": [0, 2]}, r"modalities must be of \[0, 1\]"),
        ({"times": [0.0, math.inf]}, "times must be finite"),
        ({"times": [0.0, -1.8e18]}, "not nanoseconds, or NaN where unknown; row 1 is -1.8e"),
        ({"times": np.array([0, 1795255200 * 10**9])}, "not nanoseconds, .* row 1 is 1.79"),
        ({"times": [[0.0], [1.0]]}, r"expected times as an array \(N,\), found shape \(2, 1\)"),
        ({"times": ["noon", "night"]}, "expected times as seconds since 1970"),
        ({"times": np.array(["2026-11-21", "2026-11-22"], "datetime64[ms]")}, "found datetime64"),
        ({"times": 5.0}, r"expected times as an array \(N,\), found shape \(\)"),
        ({"cameras": [[1], [2]]}, r"expected cameras as an array \(N,\), found shape \(2, 1\)"),
        ({"cameras": [[1], [2, 3]]}, "one of cameras for each embedding"),
        ({"modalities": np.zeros((2, 2), int)}, "expected modalities as an array"),
    ],
)
def test_batches_say_what_is_wrong_with_them(change, said):
    with pytest.raises(DataError, match=said):
        Entries(np.eye(2), **change)


def test_a_batch_takes_the_times_that_an_entry_does():
    times = [None, -1e15, 1e15, 0]
    batch = Entries(np.eye(4), times=times)
    own = Entries.of([Entry(row, time=time) for row, time in zip(np.eye(4), times, strict=True)])
    np.testing.assert_array_equal(batch.times, own.times)
    assert Entries(np.eye(2), times=[1, 2]).times.dtype == np.float64
    for time in (np.nextafter(1e15, 2e15), -2e15):
        for refused in (
            lambda time=time: Entries(np.eye(1), times=[time]),
            lambda time=time: Entries.of([Entry(np.ones(1), time=time)]),
        ):
            with pytest.raises(ValueError, match="seconds since 1970 UTC, not"):
                refused()


def test_entries_become_columns():
    entries = [
        Entry(np.array([3.0, 4.0]), "a", "anna", 2, INFRARED, 5.0, "a.jpg"),
        Entry(np.array([0.0, -2.0])),
    ]
    batch = Entries.of(entries)
    assert batch.embeddings.tolist() == [[np.float32(0.6), np.float32(0.8)], [0.0, -1.0]]
    assert batch.ids[0] == "a"
    assert len(batch.ids[1]) == 32  # generated
    assert (batch.identities, batch.sources) == (["anna", None], ["a.jpg", ""])
    assert (batch.cameras.tolist(), batch.modalities.tolist()) == ([2, 0], [1, 0])
    assert batch.times[0] == 5.0
    assert math.isnan(batch.times[1])
    with pytest.raises(DataError, match=r"entry 1 .* has 3 dimensions, the first one 2"):
        Entries.of([entries[0], Entry(np.ones(3), "b")])
    with pytest.raises(DataError, match=r"expected an embedding \(D,\) of entry 0"):
        Entries.of([Entry(None, "b")])


def test_filters_that_nothing_could_meet_are_refused():
    for bad, said in (
        ({"cameras": ()}, "cameras is empty"),
        ({"cameras": (-1,)}, "camera -1"),
        ({"since": 2.0, "until": 2.0}, "not before until"),
        ({"modality": 3}, "expected visible or infrared"),
        ({"identity": ""}, "never empty"),
        ({"added_until": math.nan}, "expected finite seconds"),
        ({"source": "a\0"}, "NUL"),
    ):
        with pytest.raises(ValueError, match=said):
            Filter(**bad)
    assert Filter(cameras=(3, 1, 3)).cameras == (1, 3)
    assert Filter(modality=1).modality is INFRARED
    assert Filter().is_empty
    assert not Filter(cameras=(1,)).is_empty
