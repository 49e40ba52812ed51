"""Detectors by name and by file: what is found, what is refused, and those of other people."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossreid.data.records import VISIBLE, DataError
from crossreid.errors import CrossreidError
from crossreid.registry import PluginError
from crossreid.watching.cameras import Camera
from crossreid.watching.detections import Detections
from crossreid.watching.detectors.detector_registry import DETECTORS, detector_of, limited, register_detector
from crossreid.watching.frames import Frame

CAMERA = Camera("c", 1, "c.mp4")


@pytest.fixture
def plugin():
    """A detector of somebody else's, which remembers how many frames it has seen."""

    @register_detector("counting", takes=("classes",), minimum_score=0.25)
    class Counting:
        def __init__(self, settings, camera):
            self.settings, self.camera, self.seen = settings, camera, 0

        def detect(self, frame):
            self.seen += 1
            boxes = np.array([[0, 0, 10, 10], [5, 5, 500, 500], [-9, 3, -1, 9]], np.float32)
            return Detections(boxes, np.array([0.2, min(1, self.seen / 10), 1], np.float32))

    yield Counting
    DETECTORS._entries.pop("counting")


def test_one_is_made_for_each_camera(plugin):
    make = detector_of("counting", classes=["a"], minimum_score=0)
    one, other = make(CAMERA), make(Camera("d", 2, "d.mp4"))
    frame = Frame("c", 0, 0.0, np.zeros((40, 60, 3), np.uint8), VISIBLE)
    for _ in range(3):
        found = one.detect(frame)
    assert found.boxes.tolist() == [[0, 0, 10, 10], [5, 5, 60, 40]]  # cut to the frame; what lies outside is none
    assert found.scores.tolist() == pytest.approx([0.2, 0.3])
    assert other.detect(frame).scores.tolist() == pytest.approx([0.2, 0.1])
    assert one.detector.settings.classes == ("a",)
    assert other.detector.camera.name == "d"
    assert detector_of("counting")(CAMERA).detect(frame).scores.tolist() == []  # its own least score


def test_least_sizes_and_scores():
    found = Detections(np.array([[0, 0, 10, 30], [0, 0, 30, 10], [0, 0, 30, 30]]), np.array([0.9, 0.8, 0.3]))
    assert limited(found, (50, 50), 0.5, None).scores.tolist() == pytest.approx([0.9, 0.8])
    assert limited(found, (50, 50), 0.0, (20, 5)).scores.tolist() == pytest.approx([0.9, 0.3])
    assert limited(found, (25, 50), 0.0, (26, 1)).scores.tolist() == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"spec": "backgroud"}, "Did you mean 'background'"),
        ({"spec": "nowhere/det.txt"}, "no such file"),
        ({"spec": "model.onnx"}, "no such file"),
        ({"spec": "background", "weights": Path(__file__)}, "takes no weights"),
        ({"spec": "background", "classes": ["person"]}, "takes no classes"),
        ({"spec": "background", "minimum_score": 5}, "from 0 to 1"),
        ({"spec": "background", "minimum_size": (-1, 4)}, "a height and a width"),
        ({"spec": __file__, "weights": Path("w.pth")}, "is itself a file"),
    ],
)
def test_what_has_no_use_is_refused(asked, said):
    with pytest.raises(CrossreidError, match=said) as refused:
        detector_of(**asked)
    assert "\n" not in str(refused.value)


def test_a_name_is_taken_once():
    with pytest.raises(PluginError, match="fcos_resnet50_fpn"):
        register_detector("fcos_resnet50_fpn")(lambda settings, camera: None)


def test_detections_in_another_place_need_a_file():
    with pytest.raises(DataError, match="a file of detections"):
        detector_of("file")(CAMERA)


def test_libraries_are_imported_when_they_are_needed():
    script = (
        "import sys; from crossreid.watching.detectors.detector_registry import DETECTORS, detector_of; list(DETECTORS); "
        "import crossreid.watching.video.sources, crossreid.watching.video.camera_file; "
        "print([m for m in ('torch', 'cv2', 'av', 'onnxruntime', 'torchvision') if m in sys.modules]); "
        "sys.modules['cv2'] = sys.modules['av'] = None\n"
        "from crossreid.watching.cameras import Camera\n"
        "from crossreid.watching.video.containers import opened\n"
        "for use in (detector_of('background'), opened):\n"
        "    try: use(Camera('c', 1, 'c.mp4'))\n"
        "    except ValueError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    first, background, films = done.stdout.splitlines()
    assert first == "[]"
    assert "pip install 'crossreid[video]'" in background
    assert "pip install 'crossreid[video]'" in films
