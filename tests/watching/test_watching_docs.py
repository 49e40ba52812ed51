"""The commands of docs/watching.md, on two films of seconds."""

import json
import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.watching.tracking.tracking_options import TrackingOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watching.md"


def commands():
    lines = PAGE.read_text(encoding="utf-8").split("\n")
    return [shlex.split(line) for line in lines if line.startswith("crossreid ")]


@pytest.mark.slow
def test_the_commands_run(two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    assert len(commands()) == 3
    for command in commands():
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, f"{shlex.join(command)}\n{done.output}\n{done.exception!r}"
    for folder in ("watched", "by-detections", "unseen"):
        events = [json.loads(line) for line in Path(folder, "events.jsonl").read_text().splitlines()]
        assert {event["kind"] for event in events} >= {"seen", "left"}
        assert len({event["id"] for event in events}) == len(events)
        assert Path(folder, "tracks", "gate.txt").read_text()
    assert Path("by-detections", "annotated", "yard.mp4").stat().st_size > 1000
    assert list(Path("by-detections", "crops").glob("*.jpg"))
    written = {name for _, _, names in os.walk("unseen") for name in names}
    assert not any(name.endswith((".jpg", ".png", ".mp4")) for name in written)
    assert b"\xff\xd8\xff" not in Path("unseen", "state.db").read_bytes()


def test_each_option_that_the_page_names_is_one():
    text = PAGE.read_text(encoding="utf-8")
    named = {part.split("`")[0].split("=")[0] for part in text.split("`tracking.")[1:]}
    assert len(named) >= 8
    assert named <= set(TrackingOptions.model_fields)
