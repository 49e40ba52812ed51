"""The state: steps, one writer and many readers, boxes and crops, sinks' cursors, and what is deleted."""

import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from crossreid.watching.cameras import Camera
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.state import StateError, WatchLocked, open_state
from forked import Forked
from scripted_tracklets import calibration, looks, tracklet


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "watch"


def observed(state, *tracklets):
    identities = Identities(state, calibration())
    for one in tracklets:
        identities.observe(one)
    return identities


def test_one_writes_and_others_read(folder):
    with pytest.raises(StateError, match=r"holds no state of a watch: state\.db not found"):
        open_state(folder, read_only=True)
    with pytest.raises(StateError, match="is not a watch folder"):
        open_state(folder, create=False)
    with open_state(folder) as state:
        with pytest.raises(WatchLocked, match=r"is being watched into by process \d+ .* Stop it there"):
            open_state(folder)
        with open_state(folder, read_only=True) as reader:
            with state.step():
                state.note_progress("a", 7, 1.5)
                assert state.progress("a") == (7, 1.5)
                assert reader.progress("a") is None  # not kept yet
            assert reader.progress("a") == (7, 1.5)
            with pytest.raises(StateError, match="open it for writing"):
                reader.note("key", "value")
        state.note_cameras([Camera("b", 2, "b.mp4"), Camera("a", 1, "a.mp4")])
        assert state.cameras() == {"a": 1, "b": 2}
        assert state.progress("a") == (7, 1.5)
    with pytest.raises(StateError, match="is closed"):
        state.progress("a")
    with open_state(folder) as state:
        assert state.progress("a") == (7, 1.5)


def test_another_format_and_a_damaged_file_are_refused(folder):
    open_state(folder).close()
    with sqlite3.connect(folder / "state.db") as connection:
        connection.execute("UPDATE meta SET value = '9' WHERE key = 'format'")
    connection.close()
    with pytest.raises(StateError, match="has format 9; this version reads 1"):
        open_state(folder)
    (folder / "state.db").write_bytes(b"not a database, though long enough to look like one" * 100)
    with pytest.raises(StateError, match="cannot be read as the state of a watch"):
        open_state(folder)
    (folder / "state.db").unlink()
    open_state(folder).close()  # the lock was given back


def test_events_are_numbered_and_sinks_get_each_from_where_they_are(folder):
    with open_state(folder, watch="w") as state:
        observed(state, *(tracklet("a", number, 10 * number, 10 * number + 5, looks(number)) for number in range(1, 6)))
        events = state.events()
        assert [event.id for event in events] == [f"w-{number}" for number in range(1, 6)]
        assert state.undelivered("one", limit=2) == events[:2]
        state.delivered("one", 2)
        state.delivered("one", 1)  # late, and no step back
        assert state.undelivered("one") == events[2:]
        assert state.undelivered("two") == events
        with state.step():
            state.add_event("left", 60.0, 1)
            with open_state(folder, read_only=True) as reader:
                assert reader.undelivered("one") == events[2:]
    with open_state(folder) as state:
        assert [event.number for event in state.undelivered("one")] == [3, 4, 5, 6]
        assert state.watch == "w"


def test_boxes_come_back_by_camera_with_the_identity_after_all_merges(folder):
    with open_state(folder) as state:
        early, late = (tracklet("a", 1, 0, end, looks(1), finished=False) for end in (3, 9))
        other = tracklet("a", 2, 2, 4, looks(2))
        windowed = replace(
            late, indexes=late.indexes[4:], times=late.times[4:], boxes=late.boxes[4:]
        )  # of which the start is known
        identities = observed(state, early, other, windowed)
        frames, boxes = track_rows.boxes_of(state.database, state.track("a", 1).number)
        assert np.array_equal(frames, late.indexes)
        assert np.array_equal(boxes, late.boxes)
        rows = list(state.mot_rows("a"))
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        assert len(rows) == len(late.indexes) + len(other.indexes)
        assert {row[0] for row in rows if row[1] == 2} == set(other.indexes.tolist())
        cut = tracklet("a", 1, 0, 5, looks(1))
        identities.observe(cut)
        assert np.array_equal(track_rows.boxes_of(state.database, state.track("a", 1).number)[0], cut.indexes)
        assert state.track("a", 1).last == 5
        assert list(state.mot_rows("b")) == []
        assert (state.next_track("a"), state.next_track("b")) == (3, 1)


def test_crops_are_those_of_the_key_frames(folder):
    with open_state(folder) as state:
        observed(
            state,
            tracklet("a", 1, 0, 3, looks(1), images=True, finished=False),
            tracklet("a", 1, 0, 5, looks(1), images=True),
        )
        images = state.track("a", 1).images
        assert [one.index for one in images] == [0, 10]
        assert {f"crops/{path.name}" for path in (folder / "crops").iterdir()} == {one.path for one in images}
        assert images[1].box == (20, 5, 28, 25)
        (folder / "crops" / "a-000009-00000000.jpg").write_bytes(b"of a process that was killed")
    with open_state(folder) as state:
        assert len(list((folder / "crops").iterdir())) == 2


def test_no_images_are_kept_where_none_are_to_be(folder):
    with open_state(folder, keep_images=False) as state:
        observed(state, tracklet("a", 1, 0, 3, looks(1), images=True))
        assert [one.path for one in state.track("a", 1).images] == ["", ""]
        assert not (folder / "crops").exists()
        assert state.identities()[0].images == 0


def test_what_is_forgotten_leaves_no_trace(folder):
    with open_state(folder) as state:
        identities = observed(
            state,
            tracklet("a", 1, 0, 5, looks(1), images=True),
            tracklet("a", 2, 20, 25, looks(2), images=True),
            tracklet("b", 1, 40, 45, looks(1, seed=1), images=True),
        )
        identities.ended("a")
        state.delivered("file", 2)
        assert identities.forget(30) == 2
        assert [one.identity for one in state.identities()] == ["g1"]
        assert [(one.camera, one.first) for one in state.timeline()] == [("b", 40)]
        assert [event.number for event in state.events()] == [3, 4, 5]  # what no sink lacks is gone
        assert {path.name[0] for path in (folder / "crops").iterdir()} == {"b"}
        content = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
        for gone in (looks(1), looks(2)):
            assert gone.tobytes() not in content
        assert looks(1, seed=1).tobytes() in content
        assert state.next_track("a") == 3  # numbers are not used again
        identities.observe(tracklet("c", 1, 60, 65, looks(2, seed=1)))
        assert state.track("c", 1).identity == "g3"
        with pytest.raises(StateError, match="has no identity g2"):
            state.resolve("g2")


def test_timeline_by_time_camera_and_identity(folder):
    with open_state(folder) as state:
        observed(
            state,
            tracklet("a", 1, 0, 5, looks(1)),
            tracklet("b", 1, 20, 25, looks(1, seed=1)),
            tracklet("a", 2, 22, 30, looks(2)),
        )

        def shown(*times, **more):
            return [(one.identity, one.camera) for one in state.timeline(*times, **more)]

        assert shown() == [("g1", "a"), ("g1", "b"), ("g2", "a")]
        assert shown(6, 21) == [("g1", "b")]
        assert shown(cameras=["a"]) == [("g1", "a"), ("g2", "a")]
        assert shown(identity="g1") == [("g1", "a"), ("g1", "b")]
        assert shown(limit=1) == [("g1", "a")]
        assert shown(cameras=[]) == []
        [second, first] = state.identities()
        assert (first.identity, first.tracks, first.cameras, first.first, first.last) == ("g1", 2, ("a", "b"), 0, 25)
        assert second.identity == "g2"


def read_while_written(folder, count):
    """What is read at any time is whole: all events up to some number, and the tracks that belong to them."""
    seen = 0
    while seen < count:
        with open_state(folder, read_only=True) as reader:
            for _ in range(20):
                events = reader.events(0, 10_000)
                numbers = [event.number for event in events]
                assert numbers == list(range(1, len(numbers) + 1))
                assert len(numbers) >= seen
                seen = len(numbers)
                for event in events[-3:]:
                    if event.kind == "seen":
                        track = reader.track(event.camera, event.track)
                        assert track.identity == event.identity
                        assert track.images
                assert len(reader.timeline()) >= len({event.identity for event in events})


def test_others_read_whole_steps_while_one_writes(folder):
    count = 60
    with open_state(folder) as state:
        identities = Identities(state, calibration())
        readers = [Forked(read_while_written, folder, count, log=str(folder / f"log-{number}")) for number in range(2)]
        for number in range(1, count + 1):
            with state.step():
                one = tracklet("a", number, 10 * number, 10 * number + 5, looks(number, dimension=128), images=True)
                identities.observe(one)
                state.note_progress("a", number, 10 * number)
        assert state.last_event() == count
        for number, reader in enumerate(readers):
            assert reader.wait() == 0, (folder / f"log-{number}").read_text()


def test_what_waits_for_a_step_is_not_done_by_another_threads(folder):
    with open_state(folder) as state:
        waiting = threading.Barrier(2)
        done = []

        def deliver():
            waiting.wait()
            for number in range(1, 200):
                state.delivered("sink", number)

        thread = threading.Thread(target=deliver)
        thread.start()
        waiting.wait()
        for number in range(100):
            try:
                with state.step():
                    state.note("number", str(number))
                    state.when_kept(lambda number=number: done.append(number))
                    time.sleep(0.0005)
                    if number % 2:
                        raise KeyError
            except KeyError:
                assert number not in done
            else:
                assert done[-1] == number
        thread.join()
        assert done == list(range(0, 100, 2))
        assert state.cursor("sink") == 199
