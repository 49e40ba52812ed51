"""Which light a camera sees, by the chroma of its pictures: day and night as rendered, dark scenes, and photographs."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.watching.cameras import Camera
from crossreid.watching.video.decoding import frames_of
from crossreid.watching.video.light import COLOURED, DWELL, GREY, Light, chroma
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions
from small_films import walking_people, write_film

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "nyala"


def grey(image):
    return np.repeat(image.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)


def flat(blue_chroma):
    """A grey picture with so much chroma, half of it of blue and half of red."""
    image = np.full((40, 60, 3), 128.0)
    image[:, :, 2] += blue_chroma / 0.5 * 2 / (1 + 0.081312 / 0.5)
    return np.round(image).astype(np.uint8)


def test_chroma_is_that_of_the_standard():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (200, 40, 90)
    luma = 0.299 * 200 + 0.587 * 40 + 0.114 * 90
    expected = (abs(90 - luma) / 1.772 + abs(200 - luma) / 1.402) / 2
    assert chroma(image) == pytest.approx(expected, rel=1e-3)
    assert chroma(grey(image)) < 0.01


def test_a_camera_that_turns_to_night_mode_switches_after_the_dwell():
    day, _ = walking_people(1, (72, 96))
    light, seen = Light("auto"), []
    for number in range(120):  # ten a second: day, night from 4 s on, day from 8 s on
        image = grey(day[0]) if 40 <= number < 80 else day[0]
        seen.append(light.of(image, number / 10))
    late = round(DWELL * 10)
    assert seen == [VISIBLE] * (40 + late) + [INFRARED] * 40 + [VISIBLE] * (40 - late)


def test_neither_noise_nor_a_scene_between_both_makes_it_flicker():
    dark, clear = flat((GREY + COLOURED) / 2), flat(COLOURED + 2)
    assert GREY < chroma(dark) < COLOURED < chroma(clear)
    for first, modality in ((clear, VISIBLE), (grey(clear), INFRARED)):
        light = Light("auto")
        assert light.of(first, 0.0) == modality
        assert {light.of(dark, 0.1 * number) for number in range(1, 200)} == {modality}
    light = Light("auto")
    light.of(clear, 0.0)  # grey for less than the dwell, again and again
    seen = {light.of(clear if number % 15 == 0 else grey(clear), 0.1 * number) for number in range(1, 200)}
    assert seen == {VISIBLE}


def test_a_stated_light_is_not_looked_for():
    picture = np.zeros((8, 8, 3), np.uint8)
    assert Light("visible").of(picture, 0.0) == VISIBLE
    assert Light("infrared").of(picture + np.array([90, 0, 0], np.uint8), 0.0) == INFRARED
    assert Light("auto", INFRARED).of(flat(1.8), 0.0) == INFRARED  # what it was before counts
    assert Light("auto", VISIBLE).of(flat(1.8), 0.0) == VISIBLE


def test_a_film_of_day_and_night_and_where_it_is_entered(tmp_path):
    day, _ = walking_people(60, (48, 64))
    night, _ = walking_people(60, (48, 64), grey=True)
    dusk = [image // 3 for image in day]
    film = write_film(tmp_path / "dusk.mp4", [*day[:30], *dusk[30:60], *night], gop=2)  # entered just before
    camera = Camera("dusk", 1, str(film))
    seen = {frame.index: frame.modality for frame in frames_of(camera, ReadingOptions(), FrameCounts())}
    switched = 60 + round(DWELL * 10)
    assert [seen[number] for number in range(120)] == [VISIBLE] * switched + [INFRARED] * (120 - switched)
    for first in (55, 70, switched, switched + 1, 100):
        frames = frames_of(camera, ReadingOptions(), FrameCounts(), first, seen[first - 1])
        assert {frame.index: frame.modality for frame in frames} == {k: v for k, v in seen.items() if k >= first}


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not here")
def test_photographs_in_colour_and_as_grey():

    paths = sorted(PHOTOGRAPHS.rglob("*.jpg"))
    random.Random(0).shuffle(paths)
    values = np.array([chroma(np.asarray(Image.open(path).convert("RGB").reduce(4))) for path in paths[:80]])
    assert (values >= GREY).mean() > 0.99, "in colour, a camera would turn to infrared"
    assert (values >= COLOURED).mean() > 0.95, "in colour, a camera would not turn back"
    assert max(chroma(grey(np.asarray(Image.open(path).convert("RGB").reduce(4)))) for path in paths[:10]) < GREY / 2
