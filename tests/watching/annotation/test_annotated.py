import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

import crossreid
from crossreid.data.records import VISIBLE
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.watching.annotation import annotated
from crossreid.watching.annotation.annotated import annotate, check_can_annotate, write_annotated
from crossreid.watching.annotation.identity_colours import GOLDEN_ANGLE, GREY, colour_of
from crossreid.watching.cameras import Camera
from crossreid.watching.frames import Frame
from crossreid.watching.identities.decisions import merge
from crossreid.watching.identities.state import open_state
from watched import START, make_watch

NAMES = {1: "Zoë", 2: None}


def film(count, size=(120, 160), first=0, times=None):
    """Dark grey frames."""
    return [
        Frame("gate", first + at, START + (at / 10 if times is None else times[at]), np.full((*size, 3), 40, np.uint8), VISIBLE)
        for at in range(count)
    ]  # fmt: skip


def decoded(path):
    with av.open(str(path)) as opened:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in opened.decode(video=0)]


def near(picture, row, column, colour):
    """Whether there is a colour about a pixel, as far as a film keeps it."""
    around = picture[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].astype(int)
    return np.abs(around - colour).max(axis=2).min() < 70


def box(left, top, right, bottom):
    return np.array([left, top, right, bottom], np.float32)


def test_boxes_lie_where_they_are_said_to_in_the_frames_they_are_said_of(tmp_path):
    boxes = [(at, 1, box(20 + 10 * at, 50, 60 + 10 * at, 110)) for at in range(2, 5)] + [(7, 2, box(100, 40, 140, 100))]
    write_annotated(tmp_path / "gate.mp4", film(10), boxes, NAMES.get)
    shown = decoded(tmp_path / "gate.mp4")
    assert len(shown) == 10
    for at, (_, picture) in enumerate(shown):
        assert near(picture, 80, 145, (40, 40, 40)), at
        assert near(picture, 109, 40 + 10 * at, colour_of(1)) == (at in (2, 3, 4)), at
        assert near(picture, 99, 120, GREY) == (at == 7), at
    # The square beside the number of whom the gallery does not know has that identity's colour.
    assert near(shown[7][1], 34, 106, colour_of(2))
    assert np.ptp(shown[3][1][36:49, 52:70].astype(int)) > 100  # letters on their ground


def test_where_nobody_is_known_every_identity_has_its_colour(tmp_path):
    write_annotated(tmp_path / "a.mp4", film(2), [(0, 2, box(20, 50, 60, 110))], NAMES.get, known=False)
    assert near(decoded(tmp_path / "a.mp4")[0][1], 109, 40, colour_of(2))


def test_frames_keep_their_times_and_odd_and_changing_sizes_are_written(tmp_path):
    times = [0.0, 0.1, 0.5, 0.5, 2.0]
    frames = film(4, (121, 161), times=times) + film(1, (242, 322), first=4, times=times[4:])
    write_annotated(tmp_path / "a.mp4", frames, [(4, 1, box(40, 100, 120, 220))], NAMES.get)
    shown = decoded(tmp_path / "a.mp4")
    assert [round(time, 3) for time, _ in shown] == [0.0, 0.1, 0.5, 0.501, 2.0]
    assert {picture.shape for _, picture in shown} == {(122, 162, 3)}
    assert near(shown[4][1], 109, 40, colour_of(1))


def test_boxes_beyond_the_frame_and_of_frames_that_do_not_come_do_no_harm(tmp_path):
    boxes = [
        (0, 1, box(0, 0, 10, 10)),
        (3, 1, box(-50, -20, 30, 60)),
        (4, 1, box(150, 110, 400, 300)),
        (99, 1, box(0, 0, 9, 9)),
    ]
    write_annotated(tmp_path / "a.mp4", film(5, first=2), boxes, lambda number: "a long name " * 9)
    assert near(decoded(tmp_path / "a.mp4")[1][1], 40, 29, colour_of(1))


def test_without_h264_it_is_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated, "_encodes", lambda _, name: False)
    write_annotated(tmp_path / "a.mp4", film(3), [], NAMES.get)
    with av.open(str(tmp_path / "a.mp4")) as opened:
        assert opened.streams.video[0].codec_context.name == "mpeg4"
    assert len(decoded(tmp_path / "a.mp4")) == 3


def test_a_source_that_fails_leaves_the_film_before_it(tmp_path):
    write_annotated(tmp_path / "a.mp4", film(3), [], NAMES.get)
    before = (tmp_path / "a.mp4").read_bytes()

    def broken():
        yield from film(2)
        raise CrossreidError("gone")

    with pytest.raises(CrossreidError, match="gone"):
        write_annotated(tmp_path / "a.mp4", broken(), [], NAMES.get)
    with pytest.raises(CrossreidError, match="has no frame"):
        write_annotated(tmp_path / "a.mp4", [], [], NAMES.get)
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_cannot_be_annotated_is_said_before_it_is_watched(tmp_path):
    stream = Camera("gate", 1, "rtsp://10.0.0.7/main")
    with pytest.raises(CrossreidError, match="'gate' is no film"):
        check_can_annotate([stream], keep_images=True)
    with pytest.raises(CrossreidError, match="--no-images"):
        check_can_annotate([], keep_images=False)
    check_can_annotate([Camera("gate", 1, str(tmp_path))], keep_images=True)


def test_early_frames_have_the_identity_that_was_decided_in_the_end(tmp_path):
    world = synthesise(tmp_path / "world", "manifest", 4, 0, images_per_camera=1, size=(64, 32), workers=1)
    folder = make_watch(tmp_path / "watch", world)
    (tmp_path / "hall-2").mkdir()
    with open_state(folder) as state:
        merge(state, "g1", "g3", "a person")
        cameras = [Camera("hall-2", 3, str(tmp_path / "hall-2"))]
        frames = (frame for frame in film(70, size=(120, 240), first=60))  # the frames in which g3 was seen
        (path,) = annotate(folder, state, cameras, lambda camera: frames)
    assert path == folder / "annotated" / "hall-2.mp4"
    _, early = decoded(path)[10]
    assert near(early, 70, 10 + round(10 * 190 / 120), colour_of(1))
    shutil.rmtree(folder)


def test_the_page_has_the_same_hues():
    people = Path(crossreid.__file__).with_name("service") / "page" / "people.js"
    (angle,) = re.findall(r"numberOf\(identity\) \* ([\d.]+)\) % 360", people.read_text(encoding="utf-8"))
    assert float(angle) == GOLDEN_ANGLE
    colours = {colour_of(number) for number in range(1, 400)}
    assert len(colours) == 399
