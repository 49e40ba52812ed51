"""benchmarks/watched_tracks.py on tracks that are made by hand."""

import numpy as np
import pytest

from benchmark_modules import benchmark
from crossreid.evaluation.mot_rows import MotRows


@pytest.fixture
def watched(monkeypatch):
    with benchmark(monkeypatch, "watched_tracks") as found:
        yield found


@pytest.fixture
def track(watched):
    def made(camera, first, last, angle, identity=0, name=None, left=0.0):
        """A track of a frame a second, whose embedding points into the direction `angle`, in degrees."""
        frames = np.arange(first, last + 1)
        boxes = np.tile(np.array([left, 0, left + 10, 20], np.float32), (len(frames), 1))
        towards = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        return watched.Track(camera, frames, boxes, float(first), float(last), towards, identity, name)

    return made


def truth_of(tracks, numbers):
    frames, identities, boxes = (
        np.concatenate(column)
        for column in zip(
            *((one.frames + 1, np.full(len(one.frames), number), one.boxes) for one, number in zip(tracks, numbers, strict=True)),
            strict=True,
        )
    )  # fmt: skip
    return MotRows(frames, identities, boxes, np.ones(len(frames)), np.ones(len(frames), np.int64))


def test_tracks_join_the_nearest_identity_that_is_near_enough(watched, track):
    tracks = [track("a", 0, 9, 0), track("a", 20, 29, 60), track("b", 40, 49, 25), track("b", 60, 69, 45)]
    # The cosines of the third: 0.906 to the first, 0.819 to the second.
    assert watched.joined_by_cosine(tracks, 0.97) == [1, 2, 3, 4]
    # The fourth's: 0.940 to the third, which is the first's now, and 0.966 to the second.
    assert watched.joined_by_cosine(tracks, 0.9) == [1, 2, 1, 2]
    assert watched.joined_by_cosine(tracks, 0.4) == [1, 1, 1, 1]


def test_two_that_are_in_a_view_at_once_are_two(watched, track):
    tracks = [track("a", 0, 9, 0), track("a", 5, 14, 0), track("b", 5, 14, 0)]
    assert watched.joined_by_cosine(tracks, 0.5) == [1, 2, 1]


def test_the_best_threshold_is_the_one_that_the_truth_likes_best(watched, track):
    tracks = [track("a", 0, 9, 0), track("a", 20, 29, 40), track("b", 40, 49, 10)]
    truth = {"a": truth_of(tracks[:2], [1, 2]), "b": truth_of(tracks[2:], [1])}
    threshold, scores = watched.best_cosine(truth, tracks)
    assert threshold == 0.8  # the first above the cosine of 40 degrees, 0.766, which would join two people
    assert scores.across.idf1 == 1
    alone = watched.scored(truth, tracks, [1, 2, 3])
    assert alone.within.idf1 == 1
    assert alone.across.idf1 == pytest.approx(2 / 3)  # of 30 boxes 20 at most can be right, and person 1 has one of two


def test_names_are_counted_by_boxes_of_whom_a_track_shows(watched, track):
    shown = [
        track("a", 0, 9, 0, name="anna"),
        track("a", 20, 29, 0, name="ben"),
        track("a", 40, 49, 0),
        track("a", 60, 69, 0, name="anna"),
        track("a", 80, 89, 0),
    ]
    truth = {"a": truth_of(shown, [1, 1, 1, 2, 2])}
    nothing = track("a", 0, 9, 0, name="anna", left=200)
    assert watched.person_of(truth["a"], shown[3]) == 2
    assert watched.person_of(truth["a"], nothing) is None
    found = watched.names_given(truth, [*shown, nothing], {1: "anna"})
    assert found == {
        "right": pytest.approx(1 / 3), "wrong": pytest.approx(1 / 3), "none": pytest.approx(1 / 3), "false": 0.5, "boxes": 50,
    }  # fmt: skip
