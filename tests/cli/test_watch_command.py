"""`crossreid watch`, as a person types it: networks and calibrations from elsewhere, what is said, what is refused and mended."""

import json
import sqlite3
from dataclasses import replace
from functools import partial

import av
import numpy as np
import pytest
from typer.testing import CliRunner

import typed_commands
from calibrated import known_calibration
from crossreid.cli.app import app
from crossreid.evaluation.calibration_files import to_json
from crossreid.galleries.entries import Entries
from crossreid.galleries.opening import open_gallery
from crossreid.inference.open_model import open_model
from crossreid.watching.identities.state import open_state
from small_films import walking_people, write_film
from small_model import recipe_of, write_run
from weight_files import write_weights

SIZE, COUNT = (96, 160), 30


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder: gate.mp4 with gate.txt, what is found in it; a run, its calibration, a gallery, and weights of another network."""
    place = tmp_path_factory.mktemp("place")
    frames, truth = walking_people(COUNT, SIZE)
    write_film(place / "gate.mp4", frames)
    write_film(place / "fast.mp4", frames, rate=1000)
    rows = [
        f"{number},-1,{left},{top},{right - left},{bottom - top},0.9,-1,-1,-1\n"
        for number, boxes in enumerate(truth, start=1)
        for left, top, right, bottom in boxes
    ]
    (place / "gate.txt").write_text("".join(rows))
    write_run(place / "run", recipe_of())
    model = open_model(place / "run", device="cpu")
    calibration = known_calibration(model.fingerprint)
    (place / "known.json").write_text(json.dumps(to_json(calibration)))
    alike = {name: curve for name, curve in calibration.curves.items() if name != "infrared-visible"}
    (place / "alike.json").write_text(json.dumps(to_json(replace(calibration, curves=alike))))
    (place / "other.json").write_text(json.dumps(to_json(replace(calibration, fingerprint="another"))))
    embeddings = np.random.default_rng(0).standard_normal((4, model.dimension)).astype(np.float32)
    with open_gallery(place / "people", model=model.fingerprint, dimension=model.dimension, create=True) as gallery:
        gallery.add(Entries(embeddings, identities=["ann", "ann", "bob", "eve"]))
    write_weights(place / "weights.safetensors")
    return place


@pytest.fixture
def ran(place, monkeypatch):
    monkeypatch.chdir(place)

    def run(*arguments, detector="gate.txt"):
        return typed_commands.ran("watch", "--device", "cpu", "--detector", detector, *arguments)

    return run


@pytest.fixture
def told(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    return partial(typed_commands.refused, capsys, "watch", "--device", "cpu")


def test_a_network_that_was_not_trained_here_watches(ran, told, tmp_path):
    named = ("--backbone", "test_resnet", "--backbone-weights", "weights.safetensors", "--size", "48x32")
    said = ran("gate.mp4", *named, "--out", tmp_path / "watch")
    assert "is pretrained, not trained here" in said
    assert "not calibrated" in said
    assert (tmp_path / "watch" / "tracks" / "gate.txt").stat().st_size > 1000
    for wrong, why in [
        ((*named, "--run", "run"), "expected either --run RUN or --model FILE.onnx, or --backbone NAME."),
        (("--run", "run", "--backbone-weights", "x"), "--backbone-weights: needs --backbone NAME, which is not given"),
        ((*named[:2], "--backbone-weights", "none.pth"), "none.pth not found"),
    ]:
        assert why in told("gate.mp4", *wrong, "--out", tmp_path / "wrong")


def test_a_calibration_may_lie_elsewhere(ran, told, tmp_path):
    def watched(name, *more):
        said = ran("gate.mp4", "--run", "run", "--out", tmp_path / name, *more)
        return said, json.loads((tmp_path / name / "watch.json").read_text())["settings"]["calibration"]

    said, digest = watched("plain")
    assert "not calibrated" in said
    assert digest is None
    said, digest = watched("named", "--calibration", "known.json")
    assert "not calibrated" not in said
    assert digest is not None
    assert "is of model another" in told(
        "gate.mp4", "--run", "run", "--out", tmp_path / "other", "--calibration", "other.json"
    )


def test_a_gallery_brings_its_calibration_and_pairs_without_a_curve_are_named_once(ran, place, tmp_path):
    with open_gallery(place / "people") as gallery:
        gallery.note_calibration(replace(known_calibration(gallery.model), curves={
            name: curve for name, curve in known_calibration().curves.items() if name != "infrared-visible"
        }))  # fmt: skip
    said = ran("gate.mp4#modality=infrared", "--run", "run", "--gallery", "people", "--out", tmp_path / "watch")
    assert "not calibrated" not in said
    assert said.count("infrared-visible: the calibration has no curve for these, so they are not compared.") == 1


def test_a_watch_that_came_to_nothing_can_be_corrected_and_others_are_refused_by_name(ran, told, place, tmp_path):
    (place / "broken.mp4").write_text("no film")
    out = ("--run", "run", "--out", tmp_path / "watch")
    assert "broken.mp4 cannot be opened" in told("broken.mp4", *out)
    assert f"gate: {COUNT} frames" in ran("gate.mp4", *out)
    said = told("yard=gate.mp4", *out, "--detector", "gate.txt")
    assert "belongs to another watch: camera gate is gone; camera yard is new. Choose another --out" in said
    said = told("gate.mp4#start=100", *out, "--detector", "gate.txt")
    assert "cameras.gate.start was not given, is 100. Choose another --out" in said
    with open_state(tmp_path / "watch", read_only=True) as state:
        assert list(state.cameras()) == ["gate"]


def test_sinks_that_are_gone_keep_no_events(ran, tmp_path):
    out = ("gate.mp4", "--run", "run", "--out", tmp_path / "watch")
    said = ran(*out, "--until", "2", "--webhook", "http://127.0.0.1:9/")
    assert "has not received all events" in said
    with open_state(tmp_path / "watch", read_only=True) as state:
        assert state.last_event() > 0
    assert forgotten(tmp_path / "watch") > 0  # the webhook lacks them
    said = ran(*out)
    assert said.count("no longer configured, so events are not kept for it.") == 1
    assert forgotten(tmp_path / "watch") == 0
    assert "no longer configured" not in ran(*out)


def forgotten(folder):
    """How many events are left once all is forgotten; with them goes what the trackers remember."""
    result = CliRunner().invoke(app, ["watched", "forget", str(folder), "--before", "999.5"])
    assert result.exit_code == 0, result.output
    with sqlite3.connect(folder / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM trackers").fetchone() == (0,)
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]


def test_in_real_time_too_each_frame_is_annotated(ran, tmp_path):
    options = ("--real-time", "--annotate", "--set", "reading.queue=1")
    assert "dropped" in ran("gate=fast.mp4", "--run", "run", "--out", tmp_path / "watch", *options)
    with av.open(str(tmp_path / "watch" / "annotated" / "gate.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == COUNT


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort"])
def test_without_images_there_is_none(ran, tmp_path, tracker):
    out = tmp_path / "watch"
    ran("gate.mp4", "--run", "run", "--out", out, "--no-images", "--tracker", tracker, "--until", "2")
    assert {path.suffix for path in out.rglob("*") if path.is_file()} <= {
        ".db",
        ".lock",
        ".json",
        ".jsonl",
        ".csv",
        ".txt",
    }
    with sqlite3.connect(out / "state.db") as connection:
        (kept,) = connection.execute("SELECT content FROM trackers").fetchone()
        assert connection.execute("SELECT count(*) FROM key_frames WHERE path != ''").fetchone() == (0,)
    assert longest_array(kept) < SIZE[0] * SIZE[1] / 4  # bytes: BoT-SORT halves the frame that it remembers
    assert b"\xff\xd8\xff" not in (out / "state.db").read_bytes()


def longest_array(kept):
    """The size in bytes of the largest array of pixels in what a tracker remembers."""
    import pickletools

    return max(len(given) for code, given, _ in pickletools.genops(kept) if isinstance(given, bytes | bytearray))


def test_out_must_be_a_folder_that_can_be_made(told, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file/watch cannot be created (Not a directory). Expected a folder to watch into." in told(
        "gate.mp4", "--run", "run", "--out", tmp_path / "file" / "watch"
    )
