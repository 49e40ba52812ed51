"""Runs side by side: only what was tested alike, with the differences that their queries leave."""

import json

import numpy as np
import pytest

from compared_runs import copied, made
from crossreid.errors import CrossreidError
from crossreid.runs.compare import COMPARED, compare
from crossreid.runs.evaluate import evaluate, evaluate_each


@pytest.fixture(scope="module")
def runs():
    return made()


def test_two_runs_of_one_test(runs):
    found, notes = compare([runs / "a", runs / "b"], resamples=500)
    assert notes == []
    assert [one.setting for one in found] == [score.setting for score in evaluate(runs / "a")]
    for one in found:
        first, second = one.rows
        assert [row.name for row in one.rows] == ["a", "b"]
        for key in COMPARED:
            difference = one.differences["b"][key]
            assert difference.mean == pytest.approx(second.value(key) - first.value(key))
            assert difference.low <= difference.mean <= difference.high
    scores = evaluate(runs / "b")
    assert found[0].rows[1].value("mAP") == pytest.approx(scores[0].mAP)
    assert found[0].rows[1].spread("mAP") == pytest.approx(scores[0].spread("mAP"))


def test_re_ranked_rows_and_plain_ones_are_apart(runs):
    found, _ = compare([runs / "a", runs / "b"], rerank="query-expansion", resamples=100)
    assert [one.re_ranked == "no" for one in found] == [True] * 4 + [False] * 4


def test_trials_are_paired_trial_by_trial(runs, tmp_path):
    (again,) = copied(tmp_path, "r")
    found, _ = compare([runs / "r", again.rename(tmp_path / "r2")], resamples=100)
    assert found[0].queries == sum(
        len(score.each[0]) for score in [evaluate(runs / "r" / f"trial-{t}")[0] for t in (1, 2)]
    )
    assert found[0].rows[0].over == "2 trials"
    assert found[0].differences["r2"]["mAP"].high == 0


def test_seeds_of_one_thing_are_one_row(runs, tmp_path):
    (tmp_path / "cell").mkdir()
    for number, run in enumerate(copied(tmp_path, "a", "b")):
        run.rename(tmp_path / "cell" / f"seed-{number}")
    found, _ = compare([runs / "a", tmp_path / "cell"], resamples=100)
    alone = [evaluate(runs / name)[0].mAP for name in "ab"]
    assert found[0].rows[1].value("mAP") == pytest.approx(np.mean(alone))
    assert found[0].rows[1].spread("mAP") == pytest.approx(np.std(alone, ddof=1))
    assert found[0].rows[1].over == "2 seeds"


def test_what_was_tested_otherwise_is_left_apart_and_said(runs):
    found, notes = compare([runs / "a", runs / "b", runs / "m"], resamples=100)
    assert all([row.name for row in one.rows] == ["a", "b"] for one in found)
    assert "a and m: different test images" in notes[0]
    with pytest.raises(CrossreidError, match=r"no two of the runs were tested alike.*data\.options\.seed 0 / 1"):
        compare([runs / "m", runs / "n"])
    with pytest.raises(CrossreidError, match="two or more runs"):
        compare([runs / "a"])


def test_other_draws_are_not_compared(runs, tmp_path):
    (other,) = copied(tmp_path, "b")
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("trials: 10", "trials: 3"))
    with pytest.raises(CrossreidError, match=r"are not compared: all, single-shot: trials 10 / 3"):
        compare([runs / "a", other])


def test_evaluating_two_runs_is_no_averaging(runs, tmp_path):
    a, b = copied(tmp_path, "a", "b")
    each = evaluate_each([a, b])
    assert list(each) == [a, b]
    for run, scores in each.items():
        assert [score.to_json() for score in scores] == json.loads((run / "scores.json").read_text())
        assert scores[0].to_json() == evaluate(run)[0].to_json()
    one, two = copied(tmp_path, "r")[0].glob("trial-*")
    (scores,) = evaluate_each([one, two]).values()
    assert [trial.trial for trial in scores[0].trials] == [1, 2]
    assert len(json.loads((one / "scores.json").read_text())[0]["trials"]) == 1, "a run's own file holds its own scores"
