"""`rank`, `evaluate` and `compare` as commands: what they say on standard error, and what they write."""

import csv
import json

import numpy as np
from typer.testing import CliRunner

from compared_runs import copied, made
from crossreid.cli.app import app


def ran(*arguments):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def test_rank_says_what_it_took_for_what_and_writes_it_down(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("q", "g"):
        np.savez(
            tmp_path / f"{name}.npz", feats=rng.normal(size=(12, 3)), pids=np.arange(12) % 3, camids=np.arange(12) % 4
        )
    files = ["--queries", tmp_path / "q.npz", "--gallery", tmp_path / "g.npz", "--protocol", "market-1501"]
    result = ran("rank", *files, "--json", tmp_path / "s.json", "--per-query", "--per-identity")
    written = json.loads((tmp_path / "s.json").read_text())
    assert "camera 0 occurs with 1, 2, 3" in result.stderr
    assert any("camids is taken as cameras" in line for line in written["notes"])
    assert len(written["per-query"]) == 12
    assert {row["identity"] for row in written["per-identity"]} == {"0", "1", "2"}
    refused = CliRunner().invoke(app, [str(part) for part in ("rank", *files, "--per-query")])
    assert "name a file with --json" in str(refused.exception)


def test_compare_prints_and_writes_every_form(tmp_path):
    files = [tmp_path / f"t{ending}" for ending in (".csv", ".tex", ".md", ".json")]
    outs = [part for file in files for part in ("--out", file)]
    shown = ran("compare", made() / "a", made() / "b", *outs, "--resamples", 100, "--title", "b=Ours").stdout
    assert "less a, with the 95 % interval" in " ".join(shown.split())
    assert "Ours" in shown
    assert "…" not in shown
    assert [row["run"] for row in csv.DictReader(files[0].open())][:2] == ["a", "Ours"]
    assert all(str(file) in shown.replace("\n", "") for file in files)
    wrong = CliRunner().invoke(app, ["compare", str(made() / "a"), str(made() / "b"), "--out", "t.xls"])
    assert "ending in .csv, .tex, .md or .json" in str(wrong.exception)


def test_evaluate_of_two_runs_shows_both_and_how_to_compare_them(tmp_path):
    a, b = copied(tmp_path, "a", "b")
    shown = ran("evaluate", a, b, "--json", tmp_path / "s.json", "--per-identity").stdout.replace("\n", "")
    for run in (a, b):
        assert f"scores: {run / 'scores.json'}" in shown
    assert f"crossreid compare {a} {b}" in shown
    scores = json.loads((tmp_path / "s.json").read_text())
    assert len(scores) == 8
    assert all(score["per-identity"] for score in scores)
    elsewhere = ran("evaluate", a, "--data", "regdb", "--root", made() / "regdb").stdout.replace("\n", "")
    assert f"scores: {a / 'evaluations' / 'regdb-regdb-'}" in elsewhere
    assert "published" not in elsewhere


def test_a_folder_of_trials_is_told_from_a_run():
    refused = CliRunner().invoke(app, ["report", str(made() / "r")])
    assert "holds 2 trials, each a run of its own" in str(refused.exception)
