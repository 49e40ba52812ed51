"""docs/extending.md is run: its blocks of Python in order, in a process of their own, on a small folder of images."""

import os
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from forked import Forked, text_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
# What a user of the page's detector does.
DETECTOR = """
from crossreid.data.records import VISIBLE
from crossreid.watching.detectors.detector_registry import detector_of

picture = np.zeros((40, 60, 3), np.uint8)
picture[5:20, 30:45] = 255
found = detector_of("brightest", minimum_size=(10, 10))(Camera("c", 1, "c.mp4")).detect(Frame("c", 0, 0.0, picture, VISIBLE))
assert found.boxes.tolist() == [[30, 5, 45, 20]]
"""


def run_page(folder):
    os.chdir(folder)
    runpy.run_path("page.py", run_name="__main__")


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "data" / "flat").mkdir(parents=True)
    for identity in range(8):
        for camera in (1, 2):
            for image in range(3):
                pixels = draw.integers(0, 255, (64, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / "flat" / f"p{identity}_{camera}_{image}.jpg")
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.M | re.S)
    more = (
        DETECTOR
        + f"\ncrossreid.make_recipe({{'data': {{'name': 'flat', 'root': 'x'}}, **{yaml.safe_load(recipe)!r}}})\n"
    )
    (tmp_path / "page.py").write_text("\n".join(PYTHON) + more, encoding="utf-8")
    log = tmp_path / "log"  # what the page registers is known in a process of its own, and in no test that follows
    assert Forked(run_page, tmp_path, log=log).wait(300) == 0, text_of(log)
    assert 0 <= float(text_of(log).splitlines()[-1]) <= 1
    metrics = (tmp_path / "runs" / "plain" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"compactness"' in metrics
    assert '"prototypes"' in metrics


def test_what_a_user_writes_is_short():
    assert len(PYTHON) == 7
    assert all(len(block.splitlines()) < 80 for block in PYTHON)
