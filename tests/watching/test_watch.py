"""Whole watches of two films: what is written, gone on with, killed, and refused."""

import http.server
import json
import signal
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crossreid.errors import CrossreidError
from crossreid.watching.watch import watch
from forked import Forked

FILMS = ["gate.mp4#modality=visible", "yard.mp4#modality=visible"]


def events_of(folder):
    return [json.loads(line) for line in Path(folder, "events.jsonl").read_text().splitlines()]


def without_ids(events):
    return [{key: value for key, value in event.items() if key != "id"} for event in events]


def rows_of(folder):
    return {path.name: path.read_text() for path in sorted(Path(folder, "tracks").iterdir())}


def watched(out, **options):
    return watch(FILMS, out, model="runs/mine", detector="detections", device="cpu", **options)


@pytest.fixture(scope="module")
def whole(two_films):
    """An uninterrupted watch, what it returned, and what it reported."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(two_films)
        reports = []
        done = watched("whole", report=lambda counts, identities: reports.append((counts, identities)))
    return two_films / "whole", done, reports


def test_films_become_tracks_identities_and_events(whole):
    folder, done, reports = whole
    events = events_of(folder)
    assert done.complete
    assert [(one.camera, one.frames, one.dropped, one.tracks) for one in done.cameras] == [
        ("gate", 40, 0, 2),
        ("yard", 50, 0, 2),
    ]
    assert done.events == len(events) == len({event["id"] for event in events})
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert {event["kind"] for event in events} >= {"seen", "left"}
    assert {event["camera"] for event in events if event["kind"] == "seen"} == {"gate", "yard"}
    assert [sum(one.frames for one in counts) for counts, _ in reports] == sorted(
        sum(one.frames for one in counts) for counts, _ in reports
    )
    assert reports[-1][1] == done.identities
    about = json.loads((folder / "watch.json").read_text())
    assert list(about["cameras"]) == ["gate", "yard"]
    assert about["settings"]["tracking"]["tracker"] == "bytetrack"
    assert list((folder / "crops").glob("gate-*.jpg"))


def test_tracks_lie_where_the_detections_are(whole, two_films):
    rows = np.loadtxt(whole[0] / "tracks" / "gate.txt", delimiter=",")
    known = np.loadtxt(two_films / "detections" / "gate.txt", delimiter=",")
    assert len(rows) > 0.9 * len(known)
    for row in rows:
        there = known[known[:, 0] == row[0], 2:6]
        assert np.abs(there - row[2:6]).max(axis=1).min() < 0.02
    assert len(set(rows[:, 1])) == 2


def test_a_finished_watch_is_left_as_it_is(whole, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    before = events_of("whole"), rows_of("whole")
    for place in (
        "watch.json",
        "tracks/gate.txt",
    ):  # of a watch that was killed as it wrote; no process has this number
        path = Path("whole", place)
        path.with_name(f".{path.name}.999999999.tmp{path.suffix}").touch()
    again = watched("whole")
    assert again.complete
    assert all(one.frames == 0 for one in again.cameras)
    assert (events_of("whole"), rows_of("whole")) == before
    assert not list(Path("whole").rglob(".*.tmp.*"))


@pytest.mark.slow
def test_a_watch_that_is_killed_gives_the_same_events_and_tracks(whole, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    deaths = 0
    while deaths < 20:
        seen = len(events_of("killed")) if Path("killed", "events.jsonl").exists() else 0
        child = Forked(watched, "killed", log="killed.log")
        for _ in range(2000):  # until something new was written; then it dies, the first three times
            child._process.join(0.01)
            written = Path("killed", "events.jsonl")
            if child.poll() is not None or (deaths < 3 and written.exists() and len(events_of("killed")) > seen):
                break
        if child.poll() is not None:
            assert child.poll() == 0, Path("killed.log").read_text()
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        deaths += 1
    assert deaths >= 1
    events = events_of("killed")
    assert len({event["id"] for event in events}) == len(events)
    assert without_ids(events) == without_ids(events_of(whole[0]))
    assert rows_of("killed") == rows_of(whole[0])


def test_another_setting_is_refused_by_name(whole, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    before = (whole[0] / "watch.json").read_bytes()
    with pytest.raises(CrossreidError, match=r"tracking\.key_frames was 8, is 4"):
        watched("whole", tracking={"key_frames": 4})
    with pytest.raises(CrossreidError, match=r"reading\.fps was not given, is 5"):
        watched("whole", reading={"fps": 5})
    with pytest.raises(CrossreidError, match="keep_images was True, is False"):
        watched("whole", keep_images=False)
    assert (whole[0] / "watch.json").read_bytes() == before


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes events, as a webhook does."""

    def do_POST(self):
        self.server.events += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *told):
        pass


def test_events_are_posted_and_counted(two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.events = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    figures, said = [], []

    def report(counts, identities):
        (line,) = [one for one in said if one.startswith("figures: ")]
        with urllib.request.urlopen(line.removeprefix("figures: ")) as answer:
            figures.append(answer.read().decode())

    try:
        address = f"http://127.0.0.1:{server.server_port}/events"
        done = watched("posted", webhooks=[address], metrics=0, until=2.0, report=report, say=said.append)
    finally:
        server.shutdown()
        server.server_close()
    assert done.late == ()
    assert server.events == events_of("posted")
    assert 'crossreid_watch_tracks_total{camera="gate"} 2.0' in figures[-1]
    assert 'crossreid_watch_frames_decoded_total{camera="yard"}' in figures[-1]
    assert f"crossreid_watch_identities {float(done.identities)}" in figures[-1]


REFUSED = [
    (["gate.mp4", "--run", "runs/mine"], "expected --out FOLDER"),
    (["gate.mp4", "--out", "no"], "expected either --run RUN or --model FILE.onnx"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--model", "m.onnx"], "expected either --run RUN or --model"),
    (["--out", "no", "--run", "runs/mine"], "expected one or more SOURCEs"),
    (["no.mp4", "--out", "no", "--run", "runs/mine"], "no.mp4 not found"),
    (["gate.mp4", "gate.mp4", "--out", "no", "--run", "runs/mine"], "two cameras are called 'gate'"),
    (["gate.mp4", "--out", "no", "--run", "runs/none"], "holds no run"),
    (["gate.mp4", "--out", "detections", "--run", "runs/mine"], "holds something other than a watch"),
    (["gate.mp4", "--out", "gate.mp4", "--run", "runs/mine"], "is a file; expected a folder"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--tracker", "sort"], "'bytetrack', 'ocsort' or 'botsort'"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--minimum-size", "40"], "expected HEIGHTxWIDTH"),
    (
        ["gate.mp4", "--out", "no", "--run", "runs/mine", "--set", "tracker=ocsort"],
        "expected tracking.KEY, matching.KEY",
    ),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--set", "reading.fps=3"], "use --fps"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--set", "tracking.rejoin=1"], "unknown key 'rejoin'"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--set", "matching.absent_after=3"], "more than twice"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--detector", "mog9"], "detector 'mog9' is unknown"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--gallery", "nobody"], "nobody"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--annotate", "--no-images"], "leave one of them out"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--until", "0"], "until 0: expected seconds above 0"),
    (["gate.mp4", "--out", "no", "--run", "runs/mine", "--topology", "cameras.yaml"], "cameras.yaml"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_refused_before_anything_is_written(two_films, monkeypatch, arguments, said):
    from crossreid.cli.app import app

    monkeypatch.chdir(two_films)
    done = CliRunner().invoke(app, ["watch", *arguments])
    assert isinstance(done.exception, CrossreidError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not Path("no").exists()


def test_a_watch_ends_where_it_is_told_to_and_goes_on_from_there(whole, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    first = watched("parts", until=2.0)
    assert not first.complete
    assert [one.frames for one in first.cameras] == [20, 20]
    assert watched("parts").complete
    assert without_ids(events_of("parts")) == without_ids(events_of(whole[0]))
    assert rows_of("parts") == rows_of(whole[0])
