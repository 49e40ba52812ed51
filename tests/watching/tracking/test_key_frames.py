"""The images that stand for a track: good ones, spread over its time, few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.records import Modality
from crossreid.watching.frames import Frame
from crossreid.watching.tracking.key_frames import (
    Candidate,
    KeyFrames,
    areas_in_common,
    candidate_of,
    hidden,
    sharpness,
)


def candidate(index, quality, time=None):
    return Candidate(
        index, index / 10 if time is None else time, np.array([0, 0, 1, 1]), quality, Modality.VISIBLE, None
    )


def frame(image, index=0):
    return Frame("gate", index, index / 10, image, Modality.VISIBLE)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1)), min_size=1, max_size=200), st.integers(2, 9))
def test_few_images_are_kept_in_order_and_the_best_is_among_them(steps, limit):
    kept, time = KeyFrames(limit), 100.0
    offered = []
    for index, (passed, quality) in enumerate(steps):
        time += passed
        offered.append(candidate(index, quality, time))
        kept.offer(offered[-1])
        assert len(kept.all) <= limit
    found = kept.all
    assert [one.index for one in found] == sorted(one.index for one in found)
    assert max(one.quality for one in found) == max(one.quality for one in offered)
    # The last image's slot has one, so that what is kept reaches over the whole track.
    assert offered[-1].time - found[-1].time <= (offered[-1].time - offered[0].time) / 2 + 0.26


def test_images_are_spread_over_a_long_track():
    kept = KeyFrames(8)
    for index in range(600):
        kept.offer(candidate(index, 0.9 if index < 10 else 0.5))
    times = [one.time for one in kept.all]
    assert 4 <= len(times) <= 8
    assert times[0] < 1
    assert times[-1] > 50
    assert max(np.diff(times)) < 20


def test_what_was_kept_when_two_met_stays_apart_until_both_are_joined():
    kept = KeyFrames(4)
    for index in range(20):
        kept.offer(candidate(index, 0.5))
    before = kept.all
    kept.part()
    for index in range(20, 24):
        kept.offer(candidate(index, 0.9))
    assert kept.before == before
    assert next(one.index for one in kept.after) == 20
    kept.join()
    assert len(kept.all) <= 4
    assert kept.before == []
    assert kept.all[-1].index >= 20


def test_sharp_large_whole_and_unhidden_images_are_better(noise):
    import cv2

    box = np.array([100, 40, 140, 140], dtype=np.float32)
    best = candidate_of(frame(noise), box)
    blurred = cv2.GaussianBlur(noise, (0, 0), 5)
    worse = {
        "blurred": candidate_of(frame(blurred), box),
        "small": candidate_of(frame(noise), np.array([100, 40, 116, 80], dtype=np.float32)),
        "cut off": candidate_of(frame(noise), np.array([-5, 40, 35, 140], dtype=np.float32)),
        "hidden": candidate_of(frame(noise), box, 0.5),
    }
    for what, other in worse.items():
        assert other.quality < 0.7 * best.quality, what
    assert candidate_of(frame(noise), box, least=best.quality) is None
    assert 0 <= sharpness(blurred) < sharpness(noise) < 1


def test_a_crop_ends_where_the_frame_ends_and_is_a_copy(noise):
    found = candidate_of(frame(noise), np.array([280.4, -3, 320, 50.2], dtype=np.float32))
    assert np.array_equal(found.crop, noise[0:51, 280:300])
    assert not np.shares_memory(found.crop, noise)
    assert candidate_of(frame(noise), np.array([299, 10, 320, 50], dtype=np.float32)) is None


def test_sharpness_does_not_depend_on_the_size_that_a_person_is_seen_at():
    import cv2

    fine = np.random.default_rng(1).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    large = cv2.resize(fine, (256, 512), interpolation=cv2.INTER_NEAREST)
    assert sharpness(large) == pytest.approx(sharpness(fine), rel=1e-3)


def test_how_much_of_each_box_is_hidden():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 20, 10], [0, 8, 10, 20], [40, 40, 50, 50]], dtype=np.float32)
    common = areas_in_common(boxes)
    assert common[0].tolist() == [100, 50, 20, 0]
    assert hidden(boxes, common).tolist() == pytest.approx([0.5, 1 / 3, 1 / 6, 0])
    for few in (boxes[:1], boxes[:0]):
        assert hidden(few, areas_in_common(few)).tolist() == [0.0] * len(few)


@pytest.mark.parametrize("keep", [True, False])
def test_an_embedded_image_lets_go_of_its_pixels(keep):
    down, across = np.mgrid[0:200, 0:300]
    smooth = np.stack([down, across * 0.8, 0 * down + 40], axis=2).astype(np.uint8)
    one = candidate_of(frame(smooth), np.array([10, 10, 60, 120], dtype=np.float32))
    crop = one.crop
    assert np.array_equal(one.key_frame().crop, crop)
    one.embedded(np.ones(3, dtype=np.float32), keep_image=keep)
    assert one.crop is None
    shown = one.key_frame().crop
    assert shown.shape == (crop.shape if keep else (0, 0, 3))
    if keep:
        assert np.abs(shown.astype(int) - crop).mean() < 3
