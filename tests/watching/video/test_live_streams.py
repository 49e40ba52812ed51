"""Streams by HTTP from a server that runs here: connected anew, stalled, given up; and films that lie there."""

import socket
import time

import numpy as np
import pytest

from camera_servers import Script, serving
from crossreid.data.records import DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.video.decoding import frames_of
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions
from rtsp_server import serving_rtsp
from small_films import walking_people, write_film

QUICK = {"timeout": 0.6, "retry": 0.05, "longest_retry": 0.2}


@pytest.fixture(scope="module")
def pictures():
    return walking_people(12, (48, 64))[0]


class Read:
    """A stream that is read until so many frames have come, or it ends."""

    def __init__(self, address, count=None, first=0, **options):
        self.counts, self.live, self.notes = FrameCounts(), [], []
        self.frames = []
        begun = time.monotonic()
        source = frames_of(
            Camera("c", 1, address, "visible"), ReadingOptions(**QUICK, **options), self.counts, first,
            live=self.live.append, noted=self.notes.append,
        )  # fmt: skip
        for frame in source:
            self.frames.append(frame)
            if len(self.frames) == count:
                break
        source.close()
        self.seconds = time.monotonic() - begun

    @property
    def indexes(self):
        return [frame.index for frame in self.frames]


def test_a_stream_that_breaks_off_is_connected_anew_and_counts_on(pictures):
    script = Script([pictures[:5], None, None, pictures])
    before = time.time()
    with serving(script) as address:
        read = Read(address, 12, first=100)
    assert read.live == [True]
    assert read.indexes == list(range(100, 112))
    assert read.counts.reconnects == 1
    assert script.made == 4
    assert read.notes[-1] == ""
    assert read.notes[0] != ""
    times = [frame.time for frame in read.frames]
    assert before <= times[0] < times[-1] <= time.time() + 0.1
    assert min(np.diff(times)) > 0
    shown = read.frames[2].image.astype(int)
    assert np.abs(shown - pictures[2]).mean() < 8


def test_the_times_of_a_stream_without_a_clock_are_those_of_its_frames_arrival(pictures):
    with serving(Script([pictures], pause=0.15)) as address:
        read = Read(address, 10)
    steps = np.diff([frame.time for frame in read.frames])[
        3:
    ]  # the first ones are looked at by FFmpeg, and come together
    assert np.median(steps) == pytest.approx(0.15, abs=0.05)


def test_a_stream_that_stalls_is_counted_and_goes_on(pictures):
    with serving(Script([[*pictures[:4], 30, *pictures], pictures])) as address:
        read = Read(address, 10)
    assert (read.counts.stalls, read.counts.reconnects) == (1, 1)
    assert read.notes == ["no data in time", ""]
    assert len(read.indexes) == 10
    assert read.seconds < 5


def test_a_stream_is_given_up_after_a_while(pictures):
    script = Script([pictures[:6], None])
    with serving(script) as address:
        read = Read(address, give_up=0.8)
    assert 0 < len(read.frames) <= 6
    assert 0.8 <= read.seconds < 3
    assert 3 < script.made < 20  # less and less often
    assert "503" in read.notes[-1] or "Server" in read.notes[-1]


def test_a_stream_that_changes_size_keeps_its_frames(pictures):
    small = [picture[::2, ::2] for picture in pictures[:3]]
    with serving(Script([[*pictures[:3], *small, *pictures[:3]]])) as address:
        read = Read(address, 8)
    assert [frame.image.shape[0] for frame in read.frames] == [48, 48, 48, 24, 24, 24, 48, 48]
    assert read.counts.resized == 2


def test_a_picture_that_is_damaged_is_counted(pictures):
    broken = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 200\r\n\r\n" + b"\xff\xd8" + b"x" * 198 + b"\r\n"
    with serving(Script([[*pictures[:4], broken, *pictures[4:]]])) as address:
        read = Read(address, 8)
    assert read.counts.corrupt >= 1
    assert len(read.frames) == 8


def test_a_camera_by_rtsp_breaks_off_and_stalls_and_is_connected_anew(pictures):
    with serving_rtsp([pictures[:8], pictures], step=0.1) as (address, requests):
        read = Read(address, 21)
    assert read.live == [True]
    assert [line.split()[0] for line in requests[:4]] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert read.indexes == list(range(21))  # 8, then 12 and silence, then 12 again
    assert (read.counts.reconnects, read.counts.stalls) == (2, 1)
    assert read.notes[1:] == ["", "no data in time", ""]
    steps = np.diff([frame.time for frame in read.frames])
    assert min(steps) > 0
    for first in (1, 9):  # the frames' own times, though they are sent five times as fast
        assert steps[first : first + 6] == pytest.approx(0.1, abs=1e-5)
    assert np.abs(read.frames[5].image.astype(int) - pictures[5]).mean() < 6


def test_a_first_connection_that_fails_is_an_error_without_the_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens not
        for scheme in ("http", "rtsp"):
            with pytest.raises(DataError, match="refused") as refused:
                Read(f"{scheme}://me:secret@127.0.0.1:{taken.getsockname()[1]}/live?key=secret")
            assert "secret" not in str(refused.value)


def test_a_film_on_a_server_is_read_as_a_film(tmp_path, pictures):
    film = write_film(tmp_path / "film.mp4", pictures, options={"movflags": "faststart"})
    content = film.read_bytes()
    here = Read(str(film))
    with serving(Script([[content]], kind="video/mp4", length=len(content))) as address:
        read = Read(address)
        later = Read(address, first=7)
    assert read.live == [False]
    assert [frame.time for frame in read.frames] == [frame.time for frame in here.frames]
    assert all((one.image == other.image).all() for one, other in zip(read.frames, here.frames, strict=True))
    assert later.indexes == list(range(7, 12))
    assert (later.frames[0].image == here.frames[7].image).all()


def test_a_film_whose_server_breaks_off_is_gone_on_with_where_it_was(tmp_path, pictures):
    content = write_film(tmp_path / "film.mp4", pictures, options={"movflags": "faststart"}).read_bytes()
    here = Read(str(tmp_path / "film.mp4"))
    half = content[: len(content) * 6 // 10]
    with serving(Script([[half], [half], [content]], kind="video/mp4", length=len(content))) as address:
        read = Read(address)
    assert read.indexes == list(range(12))
    assert read.counts.reconnects >= 1
    assert all((one.image == other.image).all() for one, other in zip(read.frames, here.frames, strict=True))
