"""Entries, one by one and as columns: what is refused, by name."""

import json
import math

import numpy as np
import pytest

from crossreid.data.records import INFRARED, DataError
from crossreid.galleries.entries import Entries, Entry, Matches


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
        ({"times": [0.0, -1.8e18]}, "not nanoseconds, or NaN if unknown; row 1 is -1.8e"),
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
def test_columns_say_what_is_wrong_with_them(change, said):
    with pytest.raises(DataError, match=said):
        Entries(np.eye(2), **change)


def test_columns_take_the_times_that_an_entry_does():
    times = [None, -1e15, 1e15, 0]
    columns = Entries(np.eye(4), times=times)
    own = Entries.of([Entry(row, time=time) for row, time in zip(np.eye(4), times, strict=True)])
    np.testing.assert_array_equal(columns.times, own.times)
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
    columns = Entries.of(entries)
    assert columns.embeddings.tolist() == [[np.float32(0.6), np.float32(0.8)], [0.0, -1.0]]
    assert columns.ids[0] == "a"
    assert len(columns.ids[1]) == 32  # generated
    assert (columns.identities, columns.sources) == (["anna", None], ["a.jpg", ""])
    assert (columns.cameras.tolist(), columns.modalities.tolist()) == ([2, 0], [1, 0])
    assert columns.times[0] == 5.0
    assert math.isnan(columns.times[1])
    with pytest.raises(DataError, match=r"entry 1 .* has 3 dimensions, the first one 2"):
        Entries.of([entries[0], Entry(np.ones(3), "b")])
    with pytest.raises(DataError, match=r"expected an embedding \(D,\) for entry 0"):
        Entries.of([Entry(None, "b")])


def test_matches_are_written_as_json():
    matches = Matches(("a",), np.array([0.5]), (Entry(None, "a", "anna", 2, INFRARED, 5.0, "a.jpg", 7.0),))
    (written,) = json.loads(json.dumps(matches.as_dicts()))
    assert written == {
        "id": "a", "score": 0.5, "identity": "anna", "camera": 2, "modality": "infrared", "time": 5.0, "source": "a.jpg",
        "added": 7.0,
    }  # fmt: skip
