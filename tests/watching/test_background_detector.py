"""What moves before a still background, on rendered people whose boxes are known."""

import numpy as np
import pytest

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.watching.cameras import Camera
from crossreid.watching.detectors import background
from crossreid.watching.detectors.background import WARM_UP_FRAMES, merged
from crossreid.watching.detectors.detector_registry import detector_of
from crossreid.watching.frames import Frame
from small_films import overlaps, scene, walking_people

CAMERA = Camera("c", 1, "c.mp4")
STILL = 25


def found_in(images, modality=VISIBLE, detector=None, **asked):
    detector = detector or detector_of("background", **asked)(CAMERA)
    return [detector.detect(Frame("c", number, number / 10, image, modality)) for number, image in enumerate(images)]


@pytest.mark.parametrize(("grey", "times"), [(False, 1), (True, 1), (False, 4)])
def test_people_who_walk_are_found(grey, times):
    images, truth = walking_people(70, (120, 160), grey=grey, still=STILL)
    images = [image.repeat(times, 0).repeat(times, 1) for image in images]  # larger ones are looked at made smaller
    truth = [times * boxes for boxes in truth]
    found = found_in(images, INFRARED if grey else VISIBLE)
    assert sum(map(len, found[:STILL])) == 0
    seen = [overlaps(one.boxes, boxes) for one, boxes in zip(found[STILL:], truth[STILL:], strict=True)]
    recall = np.mean([over.max(0, initial=0) > 0.5 for over in seen])
    precision = np.mean([best > 0.5 for over in seen for best in over.max(1, initial=0)])
    assert recall > 0.9  # two who pass each other are one box for a moment
    assert precision > 0.9
    assert all(((one.scores >= 0.5) & (one.scores <= 1)).all() for one in found)


def test_nothing_is_found_while_it_learns_and_after_all_has_changed():
    images, _ = walking_people(40, (96, 128))
    found = found_in(images)
    assert sum(map(len, found[:20])) == 0  # two seconds
    assert sum(map(len, found[20:])) > 0
    brighter = [np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8) for image in images]
    detector = detector_of("background")(CAMERA)
    found_in(images, detector=detector)
    after = found_in(brighter[:10], detector=detector)  # somebody switches the light on
    assert sum(map(len, after)) == 0


def test_dusk_is_nothing_that_moves():
    images, truth = walking_people(90, (120, 160), still=60)
    darker = [(image * (1 - 0.6 * min(1, number / 60))).astype(np.uint8) for number, image in enumerate(images)]
    found = found_in(darker)
    assert sum(map(len, found[:60])) == 0
    seen = [overlaps(one.boxes, boxes).max(0, initial=0) for one, boxes in zip(found[60:], truth[60:], strict=True)]
    assert np.mean([best > 0.5 for each in seen for best in each]) > 0.8


def test_it_can_be_gone_on_with_from_the_frames_that_it_remembers(monkeypatch):
    monkeypatch.setattr(background, "PERIOD", 30)
    monkeypatch.setattr(background, "OVERLAP", 22)
    images, _ = walking_people(100, (96, 128))
    images[45] = np.full_like(images[45], 255)  # all is learned anew
    first = detector_of("background")(CAMERA)
    whole = found_in(images, detector=first)
    assert first.detector.learned.frames == 100 - (90 - 22)  # learned since 22 frames before the last period
    remembers = first.remembers
    assert remembers == 52
    for last in (55, 59, 60, 75, 89, 90, 99):
        detector = detector_of("background")(CAMERA)
        for number in range(last - remembers, last + 1):
            found = detector.detect(Frame("c", number, number / 10, images[number], VISIBLE))
        assert found.boxes.tolist() == whole[last].boxes.tolist()
    assert sum(map(len, whole[90:])) > 5


def test_another_size_or_light_is_another_background():
    images, _ = walking_people(40, (96, 128), still=30)
    detector = detector_of("background")(CAMERA)
    found_in(images[:30], detector=detector)
    assert sum(map(len, found_in(images[30:33], INFRARED, detector=detector))) == 0
    assert sum(map(len, found_in([image[::2, ::2] for image in images[30:33]], INFRARED, detector=detector))) == 0
    assert WARM_UP_FRAMES > 6


def test_small_things_are_left_out():
    ground = scene((120, 160))
    images = []
    for number in range(50):
        image = ground.copy()
        if number >= 30:
            image[20:26, 3 * (number - 25) : 3 * (number - 25) + 6] = 255
            image[60:100, 2 * number : 2 * number + 18] = 0
        images.append(image)
    boxes = np.concatenate([one.boxes for one in found_in(images)])
    assert len(boxes) >= 19
    assert (boxes[:, 1] >= 50).all()
    smaller = np.concatenate([one.boxes for one in found_in(images, minimum_size=(4, 4))])
    assert (smaller[:, 1] < 50).sum() >= 15
    assert len(np.concatenate([one.boxes for one in found_in(images, minimum_size=(60, 4))])) == 0


def test_fragments_of_one_body_are_one():
    head, legs = [10, 0, 20, 12, 100], [8, 18, 22, 40, 200]
    beside, below = [60, 0, 70, 40, 300], [10, 90, 20, 120, 250]
    bodies = merged(np.array([head, beside, legs, below], dtype=float), 8.0)
    assert sorted(map(tuple, bodies.tolist())) == [(8, 0, 22, 40, 300), (10, 90, 20, 120, 250), (60, 0, 70, 40, 300)]
    chain = np.array([[0, 10 * step, 10, 10 * step + 8, 1] for step in range(6)], dtype=float)
    assert merged(chain, 4.0).tolist() == [[0, 0, 10, 58, 6]]
    assert merged(np.zeros((0, 5)), 4.0).shape == (0, 5)
