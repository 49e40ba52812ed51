"""Sources in processes of their own: the same frames, the rule by which they are dropped, and how the processes end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camera_servers import Script, serving
from crossreid.data.records import INFRARED, DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.video.decoding import frames_of
from crossreid.watching.video.decoding_process import SLOTS
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions
from crossreid.watching.video.sources import open_source, sources_with_news
from small_films import walking_people, write_film

ROOT = Path(__file__).parents[2]
COUNT = 40


@pytest.fixture(scope="module")
def pictures():
    return walking_people(COUNT, (64, 96))[0]


@pytest.fixture(scope="module")
def film(tmp_path_factory, pictures):
    return write_film(tmp_path_factory.mktemp("sources") / "film.mp4", pictures)


def camera(source, name="c", light="visible"):
    return Camera(name, 1, str(source), light)


def facts(frames):
    return [(frame.camera, frame.index, frame.time, frame.modality, frame.image.tobytes()) for frame in frames]


def test_a_film_is_read_as_in_this_process_and_nothing_is_dropped(film):
    here = facts(frames_of(camera(film), ReadingOptions(), FrameCounts()))
    with open_source(camera(film), ReadingOptions(queue=2)) as source:
        there = []
        for frame in source:
            there.append(frame)
            time.sleep(0.005)
    assert facts(there) == here
    assert source.ended
    assert source.counts == FrameCounts(decoded=COUNT, given=COUNT)
    assert next(source, None) is None
    assert there[0].image.flags.writeable  # of its own: nothing overwrites it


def test_it_is_gone_on_with_where_it_was(film):
    here = facts(frames_of(camera(film, light="infrared"), ReadingOptions(), FrameCounts()))
    with open_source(camera(film, light="infrared"), start_index=31, modality=INFRARED) as source:
        assert facts(source) == here[31:]


def test_in_real_time_the_frames_that_wait_longest_are_dropped(tmp_path, pictures):
    film = write_film(tmp_path / "quick.mp4", pictures, rate=20)
    with open_source(camera(film), ReadingOptions(real_time=True, queue=3)) as source:
        seen = []
        begun = time.monotonic()
        for frame in source:
            seen.append((frame.index, source.counts.waiting))
            time.sleep(0.2)
    seen, waiting = zip(*seen, strict=True)
    assert max(waiting) == 2  # of 3, one was just given
    assert waiting[-1] == 0
    assert time.monotonic() - begun > 1.9
    assert source.counts.dropped > 0
    assert source.counts.given == len(seen)
    assert source.counts.given + source.counts.dropped == source.counts.decoded == COUNT
    assert seen[-1] == COUNT - 1
    assert seen[-3:] == (COUNT - 3, COUNT - 2, COUNT - 1)  # what waits at the end is still given


def test_of_a_stream_the_frames_that_wait_longest_are_dropped(pictures):
    with (
        serving(Script([pictures * 3], pause=0.01)) as address,
        open_source(camera(address), ReadingOptions(queue=2, timeout=5)) as source,
    ):
        first = next(source)
        time.sleep(1.0)
        waited = [next(source).index for _ in range(SLOTS + 2)]
    assert first.index == 0
    assert waited[0] == 1  # it was in the shared memory already
    assert waited[SLOTS] > 10
    assert source.counts.dropped >= waited[SLOTS] - SLOTS - 2


def test_frames_that_grow_get_larger_memory(tmp_path, pictures):
    from PIL import Image

    for number in range(6):
        picture = Image.fromarray(pictures[number])
        picture.resize((96 << number % 3, 64 << number % 3)).save(tmp_path / f"{number}.png")
    here = facts(frames_of(camera(tmp_path), ReadingOptions(), FrameCounts()))
    with open_source(camera(tmp_path)) as source:
        assert facts(source) == here
    assert source.counts.resized == 5


def test_several_sources_are_waited_for_together(film, pictures):
    with (
        serving(Script([pictures[:3], None])) as address,
        open_source(camera(film, "film")) as one,
        open_source(camera(address, "live"), ReadingOptions(timeout=2, retry=0.05, give_up=0.3)) as other,
    ):
        assert one.poll(0.0) is None  # its process has hardly begun
        seen = {"film": 0, "live": 0}
        while ready := sources_with_news([one, other], 30):
            for source in ready:
                if (frame := source.poll()) is not None:
                    seen[frame.camera] += 1
    assert one.ended
    assert other.ended
    assert seen["film"] == COUNT
    assert 0 < seen["live"] <= 3
    assert "503" in other.lost or "Server" in other.lost
    assert one.lost == ""


def test_what_goes_wrong_there_is_raised_here(tmp_path, film):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with open_source(camera(tmp_path / "film.mp4")) as source, pytest.raises(DataError, match="cannot be opened"):
        next(source)
    with open_source(camera(film)) as source:
        next(source)
        source._process.kill()
        with pytest.raises(DataError, match="ended unexpectedly"):
            list(source)
    assert next(source, None) is None


def test_nothing_is_left_behind_when_a_source_is_closed(film):
    before = len(os.listdir("/proc/self/fd"))
    source = open_source(camera(film))
    next(source)
    process = source._process.pid
    source.close()
    source.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # multiprocessing keeps one of its own
    assert not Path(f"/proc/{process}").exists()


SCRIPT = """
import sys, time
from crossreid.watching.cameras import Camera
from crossreid.watching.video.reading_options import ReadingOptions
from crossreid.watching.video.sources import open_source

if __name__ == "__main__":
    sources = [open_source(Camera(f"c{n}", n, source, "visible")) for n, source in enumerate(sys.argv[1:], start=1)]
    for source in sources:
        next(source)
    print(*(source._process.pid for source in sources), flush=True)
    time.sleep(60)
"""


def test_the_processes_end_with_the_one_that_is_killed(tmp_path, film, pictures):
    (tmp_path / "watching.py").write_text(SCRIPT)
    with serving(
        Script([[*pictures, 60]], pause=0)
    ) as address:  # one waits for its frames to be taken, one for the stream
        watching = subprocess.Popen(
            [sys.executable, str(tmp_path / "watching.py"), str(film), address],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        readers = [int(part) for part in watching.stdout.readline().split()]
        assert len(readers) == 2
        assert all(Path(f"/proc/{reader}").exists() for reader in readers)
        watching.send_signal(signal.SIGKILL)
        watching.wait()
        watching.stdout.close()
        until = time.monotonic() + 10
        while any(running(reader) for reader in readers) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(running(reader) for reader in readers)


def running(process):
    """Whether a process is there and has not ended; one whose parent is gone may wait for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
