"""`benchmarks/endurance.py`: each kind of trial runs and is survived, and the page shows what was counted."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "endurance_cpu.json"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return runpy.run_path(str(ROOT / "benchmarks" / "endurance.py"))


def test_the_page_shows_what_was_counted(benchmark):
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "endurance.md").read_text(encoding="utf-8")
    assert benchmark["markdown"](measured) in page, "put into docs/endurance.md what benchmarks/endurance.py prints"
    assert f"--minutes {measured['minutes']:g}" in page
    assert measured["machine"]["date"][:10] in page
    assert [row["what"] for row in measured["rows"]] == [trials.what for trials in benchmark["TRIALS"]]
    assert all(row["survived"] == row["tried"] > 0 for row in measured["rows"])


@pytest.mark.slow
def test_each_kind_is_tried_once_at_least(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["endurance.py", "--minutes", "0.01", "--json", str(tmp_path / "result.json")])
    benchmark["main"]()
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["lost"] for row in rows] == [[]] * 5
    assert all(row["tried"] for row in rows)
    assert capsys.readouterr().out.count("| ") > 5


def test_what_is_not_survived_is_counted_and_named(benchmark, tmp_path):
    class Losing(benchmark["TRIALS"][0].__mro__[1]):
        what, held, share = "a", "b", 1.0

        def attempt(self, seconds):
            yield None
            yield "it broke"

    row = benchmark["endure"](Losing, tmp_path / "x", 0, 0)
    assert row == {"what": "a", "held": "b", "tried": 2, "survived": 1, "lost": ["it broke"]}
    assert "| a | 2 | 1 | b |" in benchmark["markdown"]({"rows": [row]})
