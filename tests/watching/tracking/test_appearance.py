"""What appearance puts right in tracks: people who swap, hide behind something, or are taken for one another."""

import functools

import numpy as np
import pytest

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.evaluation.calibration import Calibration, Curve
from crossreid.watching.tracking.appearance import Likeness, ready, revise
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.embedding_tracklets import TrackletEmbedder
from crossreid.watching.tracking.tracking_options import TrackingOptions
from walking_people import RATE, ColourModel, Walker, along, detections_of, film, turning

rendered = functools.lru_cache(film)


def passing(start, end, seconds, away=(5.0, 7.0)):
    """Walks, and is out of sight for some seconds in the middle."""
    straight = along(start, end, seconds)
    return lambda time: None if away[0] <= time < away[1] else straight(time)


def tracked(walkers, seconds, *, appearance=True, pillar=False, calibration=None, **options):
    """Of each identity the numbers of its boxes, one after the other and each once where it follows itself."""
    frames, truth = rendered(tuple(walkers), seconds, pillar=pillar)
    chosen = TrackingOptions(**options)
    tracker, embedder = CameraTracker("gate", chosen, frame_rate=RATE), TrackletEmbedder(ColourModel())
    likeness, tracks = Likeness(chosen, calibration), []

    def look(now):
        if appearance:
            embedder.embed([tracker])
            revise(tracker, likeness, now=now)
        for track in tracker.tracks:
            if track.number is None and ready(track, tracker, now=now):
                assert not appearance
                tracker.number(track)
        tracks.extend(tracker.ended(now=now))

    for frame, shown in zip(frames, truth, strict=True):
        tracker.update(frame, detections_of(shown))
        if frame.index % 10 == 9:
            look(False)
    look(True)
    rows = sorted(
        (index, track.number, box) for track in tracks for index, box in zip(track.indexes, track.boxes, strict=True)
    )
    found = {}
    for index, number, box in rows:
        nearest = min(truth[index], key=lambda one: np.abs(one.box - box).sum())
        numbers = found.setdefault(nearest.identity, [])
        if not numbers or numbers[-1] != number:
            numbers.append(number)
    return found


def swaps(numbers):
    return sum(len(one) - 1 for one in numbers.values())


HIDDEN = Walker(1, passing(40, 160, 12))
SCENES = {
    "turn round where they meet": ([Walker(1, turning(70, 1)), Walker(3, turning(170, -1), 270)], 5, False),
    "behind a pillar": ([Walker(1, along(20, 220, 12)), Walker(3, along(220, 20, 12, feet=104), 270)], 12, True),
    "one comes as the other goes": ([Walker(5, along(20, 220, 12)), Walker(6, along(220, 20, 9), 270)], 12, True),
}


@pytest.mark.parametrize("scene", SCENES)
def test_appearance_puts_right_what_boxes_get_wrong(scene):
    walkers, seconds, pillar = SCENES[scene]
    assert swaps(tracked(walkers, seconds, pillar=pillar, appearance=False)) == 2
    found = tracked(walkers, seconds, pillar=pillar)
    assert swaps(found) == 0
    assert sorted(number for numbers in found.values() for number in numbers) == [1, 2]


def test_people_who_pass_each_other_keep_their_numbers():
    walkers = [Walker(1, along(20, 220, 5)), Walker(3, along(220, 20, 5, feet=104), 270)]
    assert tracked(walkers, 5) == {1: [1], 3: [2]}


def test_somebody_else_does_not_continue_a_lost_track():
    """One walks behind the pillar and stays there; another comes out at the same pace."""

    def goes_in(time):
        return (20 + 16.7 * time, 100, 60) if time < 5.6 else None

    def comes_out(time):
        return (20 + 16.7 * time, 100, 60) if time >= 7.0 else None

    found = tracked([Walker(1, goes_in), Walker(3, comes_out)], 12, pillar=True)
    assert found == {1: [1], 3: [2]}
    assert tracked([Walker(1, lambda time: goes_in(time) or comes_out(time))], 12, pillar=True) == {1: [1]}


@pytest.mark.parametrize(("options", "numbers"), [({}, 1), ({"rejoin_within": 1.0}, 2), ({"rejoin_cosine": 1.0}, 2)])
def test_a_lost_track_is_continued_within_limits(options, numbers):
    found = tracked([HIDDEN], 12, **options)
    assert len(set(found[1])) == numbers


def test_probabilities_decide_where_the_model_is_calibrated():
    def curve(low, high):
        return Calibration({"visible-visible": Curve(np.array([-1.0, 1.0]), np.array([low, high]))}, {})

    walker = [HIDDEN]
    assert tracked(walker, 12, calibration=curve(0.6, 0.9), rejoin_cosine=1.0)[1] == [1]
    assert tracked(walker, 12, calibration=curve(0.1, 0.4), rejoin_cosine=-1.0)[1] == [1, 2]


def test_without_calibration_nothing_is_cut_where_the_light_changes():
    likeness = Likeness(TrackingOptions())
    assert likeness.breaks(0.1, VISIBLE, VISIBLE)
    assert not likeness.breaks(0.1, VISIBLE, INFRARED)
    calibrated = Likeness(
        TrackingOptions(), Calibration({"visible-infrared": Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))}, {})
    )
    assert calibrated.breaks(0.05, VISIBLE, INFRARED)
    assert not calibrated.breaks(0.3, VISIBLE, INFRARED)
    assert calibrated.joins(0.6, VISIBLE, INFRARED)
