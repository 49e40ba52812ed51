"""A watch's loop: what is kept, what a killed one goes on to, what a stop leaves behind."""

import random
import signal

import numpy as np
import pytest

from crossreid.watching.frame_order import Pause
from crossreid.watching.mot_files import write_mot_files
from crossreid.watching.tracking.kept_trackers import KeptTrackers
from forked import Forked
from plain_watch import PlainState, loop_of
from walking_people import ColourModel, Walker, along, film


@pytest.fixture(scope="module")
def films():
    """Two cameras: two people who turn round where they meet, so that the tracker swaps them; one who walks behind a pillar."""

    def turning(start, way):
        return lambda time: (start + way * (20 * time if time < 2.5 else 100 - 20 * time), 102 + way, 60)

    return {
        "gate": film([Walker(1, turning(70, 1)), Walker(3, turning(170, -1), 270)], 5, camera="gate"),
        "yard": film(
            [Walker(5, along(20, 220, 12)), Walker(6, along(220, 20, 9), 270)], 12, camera="yard", pillar=True
        ),
    }


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    """The state after an uninterrupted watch."""
    state = PlainState(tmp_path_factory.mktemp("whole") / "state.db")
    model = ColourModel()
    loop, items = loop_of(films, state, model=model)
    assert loop.run(items)
    state.passes = model.passes
    return state


def result(state):
    rows = {camera: [(f, n, box.tobytes()) for f, n, box in state.mot_rows(camera)] for camera in ("gate", "yard")}
    return state.events(), state.embeddings(), rows


def test_swapped_and_hidden_people_keep_their_numbers(films, whole):
    for camera, people in (("gate", [1, 3]), ("yard", [5, 6])):
        truth = films[camera][1]
        who = {}
        for frame, number, box in whole.mot_rows(camera):
            nearest = min(truth[frame], key=lambda one: np.abs(one.box - box).sum())
            who.setdefault(nearest.identity, set()).add(number)
        assert sorted(who) == people
        assert all(len(numbers) == 1 for numbers in who.values())
        assert len(set.union(*who.values())) == 2


def test_images_of_all_cameras_pass_the_network_together(films, whole):
    seconds = 12
    assert len(whole.passes) <= seconds + 1
    assert max(whole.passes) > 8  # more than the images of one track


def test_a_watch_that_is_killed_goes_on_to_the_same_result(films, whole, tmp_path):
    path, chance, deaths = tmp_path / "state.db", random.Random(3), 0

    def watch():
        loop, items = loop_of(films, PlainState(path))
        assert loop.run(items)

    while True:
        child = Forked(watch)
        child._process.join(chance.uniform(0.02, 0.12) if deaths < 8 else 60)
        if child.poll() is not None:
            assert child.poll() == 0
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        deaths += 1
    assert deaths >= 2
    for found, expected in zip(result(PlainState(path)), result(whole), strict=True):
        assert found == expected


def test_a_film_that_is_stopped_loses_nothing_and_shows_the_detector_what_it_must_see_again(films, whole, tmp_path):
    state = PlainState(tmp_path / "state.db")
    for seconds in (3.5, 3.5, 100):
        loop, items = loop_of(films, state, before=4)
        begun = loop.cameras[0].shown_until
        seen = iter(range(round(seconds * 20)))
        ended = loop.run(items, stop=lambda seen=seen: next(seen, None) is None)
        if begun >= 0 and loop.cameras[0].detector.shown:
            assert loop.cameras[0].detector.shown[0] == begun - 3
    assert ended
    assert result(state) == result(whole)


def test_a_stream_that_is_stopped_finishes_its_tracks(films, tmp_path):
    state = PlainState(tmp_path / "state.db")
    loop, items = loop_of(films, state, live=True)
    frames = 0

    def stop():
        nonlocal frames
        frames += 1
        return frames > 60

    assert not loop.run(items, stop=stop)
    last = {(one.camera, one.track): one for one in state.versions}
    assert last
    assert all(one.finished for one in last.values())
    again, items = loop_of(films, state, live=True)
    assert again.cameras[0].tracker.next_number == 1 + max(track for camera, track in last if camera == "gate")


def test_nothing_is_watched_from_a_time_on(films, tmp_path):
    state = PlainState(tmp_path / "state.db")
    loop, items = loop_of(films, state, until=3.0)
    assert not loop.run(items)
    assert state.progress("gate") == (29, 2.9)


def test_another_trackers_memory_is_not_used(films, tmp_path):
    state = PlainState(tmp_path / "state.db")
    loop, items = loop_of(films, state, until=4.0)
    loop.run(items)
    state.write("UPDATE trackers SET content = ?", (b"cos\nsystem\n(S'touch never'\ntR.",))
    again, _ = loop_of(films, state)
    assert not again.cameras[1].resume(state, KeptTrackers(state))
    assert again.cameras[1].tracker.tracks == []
    assert again.cameras[1].tracker.next_number > 1


def test_what_was_kept_is_handed_on_and_an_empty_pause_keeps_nothing(films, tmp_path):
    state, kept = PlainState(tmp_path / "state.db"), []
    loop, items = loop_of(films, state, kept=lambda events: kept.append([event.number for event in events]))
    loop.run(items)
    assert [number for numbers in kept for number in numbers] == list(range(1, len(state.events()) + 1))
    count = len(kept)
    loop.run([Pause()])
    assert len(kept) == count


def test_mot_files_count_frames_from_one(films, whole, tmp_path):
    write_mot_files(tmp_path, whole, ["gate"])
    rows = [line.split(",") for line in (tmp_path / "tracks" / "gate.txt").read_text().splitlines()]
    assert {len(row) for row in rows} == {10}
    assert int(rows[0][0]) == 1 + next(iter(whole.mot_rows("gate")))[0]
    left, top, width, height = map(float, rows[-1][2:6])
    *_, (_, _, box) = whole.mot_rows("gate")
    assert np.allclose([left, top, left + width, top + height], box, atol=0.01)
    assert rows[0][6:] == ["1", "-1", "-1", "-1"]
