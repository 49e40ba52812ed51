"""Tracks of one camera: by each tracker of the library, numbered, ended, and gone on with from bytes."""

import pickle

import numpy as np
import pytest

from crossreid.data.records import VISIBLE
from crossreid.watching.detections import Detections
from crossreid.watching.frames import Frame
from crossreid.watching.tracking import checkpoint
from crossreid.watching.tracking.camera_tracker import CameraTracker, overlap
from crossreid.watching.tracking.tracking_options import TrackingOptions
from walking_people import HEIGHT, RATE, WIDTH, Walker, along, detections_of, film

TRACKERS = ("bytetrack", "ocsort", "botsort")
BLANK = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def shot():
    ways = along(20, 220, 5, feet=56, height=50), along(220, 20, 5, feet=115, height=50)
    return film([Walker(1, ways[0]), Walker(3, ways[1], 270)], 5)


@pytest.fixture(scope="module")
def meeting():
    return film([Walker(1, along(20, 220, 5)), Walker(3, along(220, 20, 5, feet=104), 270)], 5)


def frame(index, time=None):
    return Frame("gate", index, index / RATE if time is None else time, BLANK, VISIBLE)


def one_box(index, speed=1.0):
    left = 20 + speed * index
    return Detections(np.array([[left, 40, left + 20, 100]], dtype=np.float32), np.array([0.9], dtype=np.float32))


@pytest.mark.parametrize("tracker", TRACKERS)
def test_each_tracker_follows_people(shot, tracker):
    found = CameraTracker("gate", TrackingOptions(tracker=tracker), frame_rate=RATE)
    owners = {}
    for image, shown in zip(*shot, strict=True):
        for one in found.update(image, detections_of(shown)):
            assert one.score == pytest.approx(0.9)
            owner = max(shown, key=lambda who: overlap(who.box, one.box)).identity
            owners.setdefault(id(one.track), []).append(owner)
    assert all(len(track.indexes) == len(owners[id(track)]) for track in found.tracks)
    assert sorted(set(owners[id(track)]) for track in found.tracks) == [{1}, {3}]
    assert min(map(len, owners.values())) >= 40


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_goes_on_from_bytes_as_if_nothing_had_been(meeting, tracker):
    options = TrackingOptions(tracker=tracker)
    frames, truth = meeting
    whole, first, second = (CameraTracker("gate", options) for _ in range(3))
    for image, shown in zip(frames, truth, strict=True):
        whole.update(image, detections_of(shown))
    for image, shown in zip(frames[:24], truth[:24], strict=True):
        first.update(image, detections_of(shown))
    assert checkpoint.restore(second, checkpoint.kept(first))
    for image, shown in zip(frames[24:], truth[24:], strict=True):
        second.update(image, detections_of(shown))
    assert second.done == whole.done
    assert len(second.tracks) == len(whole.tracks) == 2
    for one, other in zip(second.tracks, whole.tracks, strict=True):
        assert one.indexes == other.indexes
        assert np.array_equal(one.boxes, other.boxes)
        assert [key.index for key in one.key_frames.all] == [key.index for key in other.key_frames.all]
    assert [(one.began, one.index, one.over) for one in second.meetings] == [
        (one.began, one.index, one.over) for one in whole.meetings
    ]


class Harmful:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('/tmp/never').touch()",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Harmful()),
        b"",
        b"no pickle",
        pickle.dumps({"form": [0]}),
        pickle.dumps([1, 2]),
        # A function of the library, which is no part of a tracker.
        b"ctrackers.utils.downloader\nos.remove\n(S'x'\ntR.",
        b"ctrackers.utils.general\nnp\n.",
    ],
)
def test_other_bytes_are_not_read(content):
    tracker = CameraTracker("gate", frame_rate=RATE, next_number=7)
    assert not checkpoint.restore(tracker, content)
    assert tracker.next_number == 7
    assert tracker.tracks == []


def test_bytes_of_another_version_of_the_library_are_not_read(monkeypatch):
    tracker = CameraTracker("gate", frame_rate=RATE)
    content = checkpoint.kept(tracker)
    monkeypatch.setattr(checkpoint, "version", lambda name: "0.0")
    assert not checkpoint.restore(CameraTracker("gate", frame_rate=RATE), content)


def test_the_first_frame_is_held_back_until_the_rate_is_known():
    tracker = CameraTracker("gate")
    assert tracker.update(frame(0), one_box(0)) == []
    assert tracker.done is None
    tracker.update(frame(1), one_box(1))
    assert tracker.done == (1, 0.1)
    tracker.update(frame(2), one_box(2))
    (track,) = tracker.tracks
    assert track.indexes[-1] == 2


def test_a_frame_that_is_not_later_is_passed_over():
    tracker = CameraTracker("gate", frame_rate=RATE)
    for index in range(4):
        tracker.update(frame(index), one_box(index))
    assert tracker.update(frame(4, time=0.3), one_box(4)) == []
    assert tracker.done == (3, 0.3)


def test_tracks_end_after_they_could_be_continued_and_numbers_go_on():
    options = TrackingOptions(lost_after=0.5, rejoin_within=1.0)
    tracker = CameraTracker("gate", options, frame_rate=RATE, next_number=5)
    for index in range(10):
        tracker.update(frame(index), one_box(index))
    (track,) = tracker.tracks
    tracker.number(track)
    assert (track.number, tracker.next_number) == (5, 6)
    nobody = Detections(np.zeros((0, 4)), np.zeros(0))
    for index in range(10, 25):
        tracker.update(frame(index), nobody)
        assert tracker.ended() == []
        assert not tracker.seen(track)
    tracker.update(frame(25), nobody)
    assert tracker.ended() == [track]
    assert tracker.tracks == []


def test_a_track_that_lasts_long_goes_on_as_a_new_one():
    tracker = CameraTracker("gate", TrackingOptions(longest=2.0), frame_rate=RATE)
    over = []
    for index in range(60):
        tracker.update(frame(index), one_box(index, speed=0.2))
        over += tracker.ended()
    parts = [*over, *tracker.tracks]
    assert len(parts) == 3
    assert [index for part in parts for index in part.indexes] == list(range(parts[0].indexes[0], 60))


def test_boxes_of_a_track_that_leave_the_frame_are_no_part_of_it():
    tracker = CameraTracker("gate", frame_rate=RATE)
    for index in range(30):
        left = 200.0 + 4 * index
        box = Detections(np.array([[left, 40, left + 20, 100]], dtype=np.float32), np.array([0.9], dtype=np.float32))
        tracker.update(frame(index), box)
    assert all(box[0] < WIDTH for track in tracker.tracks for box in track.boxes)
