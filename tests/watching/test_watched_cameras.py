"""Cameras by arguments and by a cameras.yaml: names, options, and what is refused."""

from pathlib import Path

import pytest

from crossreid.data.records import DataError
from crossreid.watching.cameras import Camera, name_of_source, shown_source
from crossreid.watching.video.camera_file import cameras_in, cameras_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two files and a folder of frames, from which sources are named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for name in ("gate.mp4", "Front door (2).mp4", "a=b.mp4", "yard#offset=3.mp4"):
        (tmp_path / name).write_bytes(b"film")
    return tmp_path


def test_a_camera_is_named_by_its_argument_or_by_its_source(place):
    cameras = cameras_of(
        ["yard=gate.mp4", "gate.mp4", "frames/", "Front door (2).mp4", "rtsp://u:p@10.0.0.7:554/ch/1?x=y"]
    )
    assert [camera.name for camera in cameras] == ["yard", "gate", "frames", "Front-door-2", "10.0.0.7-ch-1"]
    assert [camera.number for camera in cameras] == [1, 2, 3, 4, 5]
    assert cameras[0] == Camera("yard", 1, "gate.mp4")


def test_options_stand_behind_the_source(place):
    (camera,) = cameras_of(["y=gate.mp4#modality=infrared,offset=-2.5,start=2026-11-21T08:30:00Z"])
    assert camera == Camera("y", 1, "gate.mp4", "infrared", -2.5, 1795249800.0)
    (camera,) = cameras_of(["frames#frame_rate=5,start=7"])
    assert (camera.source, camera.frame_rate, camera.start, camera.light) == ("frames", 5, 7, "auto")


def test_a_path_that_is_there_is_one_whatever_it_is_called(place):
    cameras = cameras_of(["a=b.mp4", "yard#offset=3.mp4", "x=yard#offset=3.mp4"])
    assert [(camera.name, camera.source) for camera in cameras] == [
        ("a-b", "a=b.mp4"), ("yard-offset-3", "yard#offset=3.mp4"), ("x", "yard#offset=3.mp4"),
    ]  # fmt: skip


def test_a_file_of_cameras(place):
    (place / "conf").mkdir()
    (place / "conf" / "night.mp4").write_bytes(b"film")
    file = place / "conf" / "cameras.yaml"
    file.write_text(
        "cameras:\n  - source: night.mp4\n    modality: infrared\n    start: 2026-11-21T08:30:00Z\n"
        "  - {name: pass, source: 'https://example.org/live.mjpg', offset: 3}\n  - ../gate.mp4\n"
    )
    night, street, gate = cameras_of([], file)
    assert (night.name, night.light, night.start, Path(night.source)) == (
        "night", "infrared", 1795249800.0, place / "conf" / "night.mp4",
    )  # fmt: skip
    assert street == Camera("pass", 2, "https://example.org/live.mjpg", "auto", 3.0)
    assert (gate.name, gate.number) == ("gate", 3)
    assert cameras_in(file) == (night, street, gate)
    assert [camera.name for camera in cameras_of(["x=gate.mp4"], file)] == ["night", "pass", "gate", "x"]


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "no camera"),
        (["nowhere.mp4"], "nowhere.mp4 not found"),
        (["gate.mp4", "Gate=frames"], "two cameras are called 'Gate'"),
        (["gate.mp4#light=infrared"], "unknown key 'light'"),
        (["gate.mp4#modality=infra"], "Did you mean 'infrared'"),
        (["gate.mp4#offset=nan"], "finite"),
        (["gate.mp4#start=yesterday"], "ISO 8601"),
        (["gate.mp4#offset"], "expected #KEY=VALUE"),
        (["gate.mp4#offset=1,offset=2"], "given twice"),
        (["gate.mp4#name=x"], "NAME=SOURCE"),
        (["gate.mp4#frame_rate=5"], "folders of frames"),
        (["x="], "expected a video file"),
        (["gopher://example.org/film"], "expected an address of rtsp"),
        ([("n" * 70) + "=gate.mp4"], "not found"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(place, sources, said):
    with pytest.raises(DataError, match=said) as refused:
        cameras_of(sources)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cameras: []", "at least 1"),
        ("cameras:\n  - {source: gate.mp4, modalty: auto}", "Did you mean 'cameras.0.modality'"),
        ("cameras:\n  - {name: gate}", "'cameras.0.source'"),
        ("cameras:\n  - {name: a/b, source: gate.mp4}", "expected a name of letters"),
        ("cameras:\n  - {name: 7, source: gate.mp4}", "cameras.0.name"),
        ("[gate.mp4]", "expected `cameras:`"),
        ("cameras: [", "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(place, text, said):
    (place / "cameras.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        cameras_in(place / "cameras.yaml")
    with pytest.raises(DataError, match="not found"):
        cameras_in(place / "other.yaml")


def test_a_password_is_not_shown():
    address = "rtsp://me:secret@10.0.0.7:554/live?token=secret"
    assert shown_source(address) == "rtsp://10.0.0.7:554/live"
    assert "secret" not in name_of_source(address)
    with pytest.raises(DataError) as refused:
        cameras_of([address, address])
    assert "secret" not in str(refused.value)
