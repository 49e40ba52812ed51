"""docs/identities.md says what is so: its topology is read, its Python runs, its table is that of the options."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import open_state
from crossreid.watching.identities.topology import read_topology
from scripted_tracklets import calibration, looks, tracklet

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "identities.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


def test_the_topology_is_read(tmp_path):
    [text] = blocks("yaml")
    (tmp_path / "topology.yaml").write_text(text)
    topology = read_topology(tmp_path / "topology.yaml")
    assert topology.may_overlap("court", "yard")
    assert [link.seconds for link in topology.links] == [(5, 60), (3, None), (0, None)]
    assert (topology.unnamed, topology.clock_error) == ("never", 0.5)


def test_the_python_runs(tmp_path, capsys):
    with open_state(tmp_path) as state:
        Identities(state, calibration()).observe(tracklet("gate", 1, 0, 5, looks(1)))
    [code] = blocks("python")
    exec(code, {"folder": tmp_path})
    assert capsys.readouterr().out == "g1 unknown ('gate',) 1\ng1 0.0 5.0\n"


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_state(tmp_path / "watch") as state:
        identities = Identities(state, calibration())
        for track, start, who in [(1, 0, 1), (2, 30, 1), (3, 60, 2), (4, 90, 3)]:
            identities.observe(tracklet("gate", track, start, start + 5, looks(who, seed=track), images=True))
    [shown] = blocks("bash")
    for line in shown.splitlines():
        command = shlex.split(line, comments=True)
        assert command[0] == "crossreid"
        result = CliRunner().invoke(app, command[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    assert len((tmp_path / "marked.csv").read_text().splitlines()) == 5
    with open_state(tmp_path / "watch", read_only=True) as state:
        assert state.identities() == []


def test_the_table_is_that_of_the_options():
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, flags=re.M))
    assert {name: float(value) for name, value in told.items()} == {
        name: float(field.default) for name, field in MatchingOptions.model_fields.items()
    }


def test_prose_is_within_120_columns():
    assert [line for line in PAGE.splitlines() if len(line) > 120 and not line.startswith("|")] == []
