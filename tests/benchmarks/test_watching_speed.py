"""benchmarks/watching.py: streams that are made of a film again and again, and what is made of the figures."""

import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from benchmark_modules import benchmark
from crossreid.data.synthetic.city.films import write_film


@pytest.fixture
def watching(monkeypatch):
    with benchmark(monkeypatch, "watching") as found:
        yield found


def test_a_film_again_and_again_has_its_frames_in_order(watching, tmp_path):
    images = [np.full((64, 96, 3), 20 * shade, np.uint8) for shade in range(1, 11)]
    write_film(tmp_path / "a.mp4", images, Fraction(25, 2))
    watching.looped_film(tmp_path / "a.mp4", 3, tmp_path / "long.mp4")
    with av.open(str(tmp_path / "long.mp4")) as opened:
        pictures = list(opened.decode(video=0))
    assert [round(float(picture.time * 12.5)) for picture in pictures] == list(range(30))
    shades = np.array([picture.to_ndarray(format="rgb24").mean() for picture in pictures])
    assert np.abs(shades - 20 * (np.arange(30) % 10 + 1)).max() < 4


def test_detections_are_repeated_with_the_film(watching, tmp_path):
    (tmp_path / "a.txt").write_text("1,-1,5,5,9,9,0.5\n4,-1,6,5,9,9,0.5\n")
    watching.looped_detections(tmp_path / "a.txt", 5, 3, tmp_path / "long.txt")
    assert [line.split(",")[0] for line in (tmp_path / "long.txt").read_text().splitlines()] == [
        "1",
        "4",
        "6",
        "9",
        "11",
        "14",
    ]


def test_memory_is_that_of_a_process_and_its_children(watching):
    """Of a process that holds nothing and starts one that does: this one has other children, which come and go."""
    holds = "import os, sys; block = bytearray(os.urandom(60_000_000)); print('made', flush=True); sys.stdin.read()"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
    parent = subprocess.Popen([sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "made\n"
        assert watching.resident(parent.pid) > 60_000_000
    finally:
        parent.communicate("")
    assert watching.resident(parent.pid) == 0


def test_memory_is_told_by_tenths_of_the_time_that_was_watched(watching):
    flat = [(float(second), 100_000_000 if second >= 20 else 5_000_000) for second in range(121)]
    assert watching.tenths(flat, 100) == {"megabytes": [100.0] * 10, "growth": 0.0}
    rising = [(float(second), 1_000_000 * second) for second in range(101)]
    found = watching.tenths(rising, 100)
    assert found["growth"] == pytest.approx(70, abs=2)


def test_the_estimate_speeds_up_the_network_alone(watching):
    rows = [
        {"detector": "file", "cameras": 1, "cpu_ms": 10.0}, {"detector": "fasterrcnn", "cameras": 1, "cpu_ms": 500.0},
        {"detector": "file", "cameras": 4, "cpu_ms": 1000.0},
    ]  # fmt: skip
    found = watching.gpu_estimate(rows)
    assert found["fasterrcnn"] == pytest.approx(1 / (0.01 + 0.49 / watching.GPU_FACTOR))
    assert found["measured"] is False
    assert watching.gpu_estimate(rows[:1]) == {}
