"""Frames of several cameras: films by time, streams as they come, and the pauses between."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.records import VISIBLE
from crossreid.watching.frame_order import Pause, by_arrival, by_time
from crossreid.watching.frames import Frame

BLANK = np.zeros((1, 1, 3), dtype=np.uint8)


def frames(times, camera="a"):
    return [Frame(camera, index, moment, BLANK, VISIBLE) for index, moment in enumerate(times)]


moments = st.lists(st.floats(0, 20), max_size=30).map(sorted)


@given(st.lists(moments, min_size=1, max_size=4))
def test_films_come_by_time_with_a_pause_at_each_step(films):
    items = list(by_time([iter(frames(times)) for times in films], 1.0))
    seen = [(item[1].time, item[0]) for item in items if not isinstance(item, Pause)]
    assert seen == sorted((moment, position) for position, times in enumerate(films) for moment in times)
    assert isinstance(items[-1], Pause)
    cells, over = [[]], []
    for item in items:
        if isinstance(item, Pause):
            over += item.over
            cells.append([])
        else:
            cells[-1].append(int(item[1].time))
    assert all(len(set(cell)) <= 1 for cell in cells)
    assert sorted(over) == list(range(len(films)))


@given(st.lists(moments, min_size=1, max_size=3), st.integers(0, 25))
def test_films_that_are_gone_on_with_come_in_the_same_pieces(films, stop):
    """From any pause on, what follows does not depend on what was before."""

    def pieces(items):
        found = []
        for item in items:
            found += ["pause"] if isinstance(item, Pause) else [(item[0], item[1].time)]
        return [list(group) for is_pause, group in itertools.groupby(found, lambda one: one == "pause") if not is_pause]

    whole = pieces(by_time([iter(frames(times)) for times in films], 1.0))
    done = whole[:stop]
    counts = [sum(position == one for piece in done for one, _ in piece) for position in range(len(films))]
    rest = pieces(by_time([iter(frames(times)[count:]) for times, count in zip(films, counts, strict=True)], 1.0))
    assert rest == whole[stop:]


class Stream:
    """Frames that are there from a moment on."""

    def __init__(self, arrivals, ends):
        self.begun = time.monotonic()
        self.left, self.ends = (
            [(moment, Frame("a", n, moment, BLANK, VISIBLE)) for n, moment in enumerate(arrivals)],
            ends,
        )

    @property
    def now(self):
        return time.monotonic() - self.begun

    @property
    def ended(self):
        return not self.left and self.now >= self.ends

    def poll(self, seconds=0.0):
        return self.left.pop(0)[1] if self.left and self.now >= self.left[0][0] else None


def news(streams, seconds):
    until = time.monotonic() + seconds
    while True:
        found = [one for one in streams if one.ended or (one.left and one.now >= one.left[0][0])]
        if found or time.monotonic() >= until:
            return found
        time.sleep(0.005)


def test_streams_come_as_they_arrive_and_pauses_also_where_nothing_comes():
    streams = [Stream([0.0, 0.01, 0.02, 0.3], 0.35), Stream([0.0, 0.01], 0.1)]
    items = list(by_arrival(streams, 0.1, news))
    seen = [(item[0], item[1].index) for item in items if not isinstance(item, Pause)]
    assert [index for position, index in seen if position == 0] == [0, 1, 2, 3]
    assert [index for position, index in seen if position == 1] == [0, 1]
    assert seen.index((1, 0)) < seen.index((0, 2))  # none gets ahead
    pauses = [item for item in items if isinstance(item, Pause)]
    assert len(pauses) >= 3
    assert [position for pause in pauses for position in pause.over] == [1, 0]
    assert isinstance(items[-1], Pause)


def test_a_stream_that_fails_is_heard():
    class Failing(Stream):
        def poll(self, seconds=0.0):
            raise RuntimeError("the reader died")

    with pytest.raises(RuntimeError, match="the reader died"):
        list(by_arrival([Failing([0.0], 1)], 0.1, news))
