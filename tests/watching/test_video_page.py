"""docs/video.md: what it shows is run, and what it says of names and numbers is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from crossreid.watching.detectors import background
from crossreid.watching.detectors.detector_registry import DETECTORS
from crossreid.watching.detectors.json_lines import KEYS, read_json_lines
from crossreid.watching.video import live_streams
from crossreid.watching.video.camera_file import CameraOptions, cameras_in
from crossreid.watching.video.decoding_process import SLOTS
from crossreid.watching.video.frame_times import NEW_CLOCK
from crossreid.watching.video.light import COLOURED, DWELL, GREY
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions
from small_films import walking_people, write_film

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def blocks(language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, flags=re.M | re.S)


def test_the_cameras_of_the_page_are_read(tmp_path):
    images, _ = walking_people(10, (48, 64))
    for name in ("gate.mp4", "east.mp4"):
        write_film(tmp_path / name, images)
    (tmp_path / "hall").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "hall" / f"{number}.png")
    (shown,) = blocks("yaml")
    (tmp_path / "cameras.yaml").write_text(shown)
    gate, yard, hall = cameras_in(tmp_path / "cameras.yaml")
    assert (gate.name, yard.light, yard.offset, hall.frame_rate) == ("gate", "infrared", -1.5, 12.5)
    code, other = blocks("python")
    (tmp_path / "cameras.yaml").write_text(re.sub(r"  - name: yard\n.*?(?=  - source: hall)", "", shown, flags=re.S))
    (tmp_path / "read.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "read.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("east")] == [
        ["east", str(n)] for n in range(0, 10, 2)
    ]
    assert sum(line.startswith("hall") and "VISIBLE (48, 64, 3)" in line for line in lines) == 4  # 0.8 s at 5 a second
    assert sum("decoded=10" in line for line in lines) == 3
    exec(other, {})


def test_the_line_of_detections_is_one(tmp_path):
    (line,) = blocks("json")
    (tmp_path / "d.jsonl").write_text(line.strip())
    rows = read_json_lines(tmp_path / "d.jsonl")
    assert (rows.frames, rows.scores, rows.labels, rows.cameras) == ([0], [0.93], ["person"], ["gate"])
    assert all(f'"{key}"' in line for key in KEYS)


def test_numbers_and_names_are_those_of_the_program():
    options = ReadingOptions()
    assert f"Up to `queue` frames ({options.queue}) wait" in WORDS
    assert f"`timeout` seconds, {options.timeout:g})" in WORDS
    assert (
        f"after {options.retry:g} seconds, then after twice as long each time, up to {options.longest_retry:g}" in WORDS
    )
    assert SLOTS == 2
    assert "Two more have been handed over" in WORDS
    assert f"astray by {live_streams.DRIFT:g} seconds" in WORDS
    assert f"more than {NEW_CLOCK:g} seconds is a clock" in WORDS
    assert f"below {GREY} speaks for infrared, above {COLOURED} for visible" in WORDS
    assert f"all pictures of {DWELL:g} seconds" in WORDS
    assert f"in the first {background.WARM_UP:g} seconds" in WORDS
    assert f"less than 1/{round(1 / background.SMALLEST[0])} of the frame's height" in WORDS
    for name in FrameCounts.__dataclass_fields__:
        assert f"`{name}`" in WORDS
    for name in CameraOptions.model_fields:
        assert re.search(rf"\b{name}\b", blocks("yaml")[0])
    assert DETECTORS["onnx"].minimum_score == DETECTORS["fcos_resnet50_fpn"].minimum_score == 0.1
    assert DETECTORS["background"].minimum_score == DETECTORS["file"].minimum_score == 0
