"""docs/open_set.md: its commands and its Python run, and its figures are those that were measured."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import people_to_calibrate
from benchmark_modules import benchmark
from crossreid.cli.app import app
from crossreid.evaluation.fitted_calibration import FEW, FEW_IDENTITIES, RATES
from crossreid.runs.calibrating import calibrate
from few_fits import quick_drawings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "open_set.md").read_text(encoding="utf-8")
RESULT = ROOT / "benchmarks" / "results" / "calibration_demo_cpu.json"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as the page's reader has it: a run, crops, a manifest of others, a photo."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(people_to_calibrate.made() / "run", folder / "runs" / "vd")
    mine = shutil.copytree(people_to_calibrate.made() / "mine", folder / "data" / "mine")
    (folder / "data" / "crops").mkdir()
    for picture in sorted(mine.glob("images/*/c1_*.jpg")):
        shutil.copy(picture, folder / "data" / "crops" / f"{picture.parent.name}-{picture.name}")
    shutil.copy(picture, folder / "photo.jpg")
    return folder


def test_commands_and_python_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    quick_drawings(monkeypatch)
    for line in "".join(blocks("bash")).splitlines():
        words = shlex.split(line)
        assert words[0] == "crossreid"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    (code,) = blocks("python")
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_it_says_of_few_pairs_is_so():
    few = f"fewer than {FEW} same-identity pairs of images, fewer than {FEW} different-identity pairs, or fewer than"
    assert f"{few} {FEW_IDENTITIES} identities" in " ".join(PAGE.split())
    assert f"({', '.join(f'{rate:g}' for rate in RATES[:-1])} and {RATES[-1]:g})" in PAGE


def test_figures_are_those_that_were_measured(monkeypatch):
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    with benchmark(monkeypatch, "calibration_elsewhere") as script:
        assert script.markdown(measured) in PAGE, (
            "put into docs/open_set.md what benchmarks/calibration_elsewhere.py prints"
        )


def test_the_benchmark_runs(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place)
    calibrate("runs/vd", seed=1)
    monkeypatch.setattr(sys, "argv", ["calibration_elsewhere.py", "runs/vd", "--json", str(tmp_path / "result.json")])
    with benchmark(monkeypatch, "calibration_elsewhere") as script:
        script.main()
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["query-gallery"] for row in rows][:2] == ["visible-visible", "visible-infrared"]
    for row in rows:
        assert row["images of"] == "its own test"
        assert all(0 <= row[name] <= 1 for name in ("ECE", "Brier", "accepted", "found", "FAR 0.01 is, nearest"))
    assert "| its own test | visible-visible |" in capsys.readouterr().out
