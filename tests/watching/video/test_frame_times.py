"""Times of frames: always forward, whatever packets say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.watching.video.frame_times import FrameTimes
from crossreid.watching.video.reading_options import FrameCounts


def times_of(said, rate=10):
    counts = FrameCounts()
    times = FrameTimes(rate, counts)
    return [times.of(seconds) for seconds in said], counts.mistimed


def test_good_times_stay_as_they_are():
    assert times_of([0.0, 0.1, 0.35, 700.0]) == ([0.0, 0.1, 0.35, 700.0], 0)


def test_a_missing_time_is_a_frame_later():
    found, mistimed = times_of([5.0, None, None, 5.3])
    assert found == pytest.approx([5.0, 5.1, 5.2, 5.3])
    assert mistimed == 2
    assert times_of([None, None])[0] == pytest.approx([0.0, 0.1])


def test_times_that_go_back_a_little_catch_up():
    found, mistimed = times_of([1.0, 1.1, 2.0, 1.2, 1.3, 2.1])
    assert found == pytest.approx([1.0, 1.1, 2.0, 2.001, 2.002, 2.1])
    assert mistimed == 2


def test_a_clock_that_is_set_anew_goes_on_from_there():
    found, mistimed = times_of([100.0, 100.1, 0.0, 0.1, 0.2])
    assert found == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert mistimed == 1


@given(st.lists(st.none() | st.floats(-1e5, 1e5), max_size=30))
def test_times_go_forward(said):
    found, _ = times_of(said)
    assert (np.diff(found) > 0).all()
