"""A comparison as people and papers read it: whole figures at any width, and the same ones in every file."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from crossreid.errors import CrossreidError
from crossreid.evaluation.paired import Difference
from crossreid.evaluation.scores import Score, TrialScore
from crossreid.reporting.comparison_table import as_csv, as_latex, as_markdown, terminal_comparison, write_comparison
from crossreid.runs.compare import COMPARED, Compared, Comparison


def score(rank, trained=""):
    trials = tuple(TrialScore(t, np.array([rank + t / 100, 0.9]), rank / 2, rank / 3, 7, 1, 0.1) for t in (1, 2))
    rules = ("regdb", "visible to thermal", "cosine", "none", "every image", "every image")
    return Score(*rules, trials, trained=trained)


@pytest.fixture(scope="module")
def found():
    rows = (
        Compared("base_line & co", (score(0.4),), np.zeros((7, 3))),
        Compared("long name of a run", (score(0.5, "not finished: 6 of 144 steps, 0 of 24 epochs"),), np.ones((7, 3))),
    )
    differences = {"long name of a run": {key: Difference(0.1, -0.016, 0.2) for key in COMPARED}}
    return [Comparison("data", "regdb", "visible to thermal", "no", rows, differences, 0.95, 100)]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_figure_is_cut_at_any_width(found, width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(terminal_comparison(found, ["x and y differ"]))
    shown = stream.getvalue()
    assert "…" not in shown
    assert "..." not in shown
    assert max(map(len, shown.splitlines())) <= width
    for figure in ("51.50", "± 0.50", "90.00", "25.00", "16.67", "+10.00", "[-1.60, +20.00]"):
        assert figure in shown
    assert "long name of a run is not finished: 6 of 144 steps, 0 of 24 epochs." in " ".join(shown.split())
    assert "x and y differ" in shown


def test_files_hold_the_same_figures(found, tmp_path):
    (first, second) = csv.DictReader(io.StringIO(as_csv(found)))
    assert (first["run"], float(first["rank-1"]), first["mAP difference"]) == ("base_line & co", 41.5, "")
    assert [float(second[f"mAP {end}"]) for end in ("difference", "low", "high")] == [10, -1.6, 20]
    markdown = as_markdown(found)
    assert "| base_line & co | 41.50 ± 0.50 |" in markdown
    assert "+10.00 [-1.60, +20.00]" in markdown
    latex = as_latex(found)
    assert r"base\_line \& co & 41.50 $\pm$ 0.50 & " in latex
    assert latex.count(r"\\") == 3
    with pytest.raises(CrossreidError, match=r"x\.xls: expected a file ending in"):
        write_comparison(found, Path("x.xls"))
    for ending in (".csv", ".tex", ".md", ".json"):
        assert write_comparison(found, tmp_path / f"t{ending}").stat().st_size > 100
