"""Scores: averages and spreads by hand, files and back, what is printed, and published figures beside them."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from crossreid.data.records import DataError
from crossreid.evaluation.published import PUBLISHED, published_for
from crossreid.evaluation.ranking import rank_distances
from crossreid.evaluation.scores import KEYS, Score, TrialScore, combine, table, trial_score


def trial(number=1, curve=(0.25, 0.5, 1.0), mean=0.4, valid=4, skipped=1):
    return TrialScore(number, np.array(curve), mean, mean / 2, valid, skipped, 0.125)


def score(*trials, **change):
    conditions = {
        "protocol": "sysu-mm01",
        "setting": "all, single-shot",
        "metric": "euclidean",
        "exclusion": "same place",
        "gallery_draw": "official permutations",
        "counting": "every image",
    }
    return Score(**(conditions | change), trials=trials or (trial(),))


def test_means_and_spreads_by_hand():
    both = score(trial(1), trial(2, (0.75, 1.0), 0.8))
    assert both.rank(1) == 0.5
    assert both.spread("rank-1") == 0.25
    assert both.rank(3) == both.rank(20) == 1.0
    assert both.mAP == pytest.approx(0.6)
    assert both.mINP == pytest.approx(0.3)
    assert both.spread("mAP") == pytest.approx(0.2)
    assert both.cmc.tolist() == [0.5, 0.75, 1.0]
    assert (both.valid_queries, both.skipped_queries, both.chance_rank1) == (4, 1, 0.125)
    assert score().spread("mINP") == 0.0


@pytest.mark.parametrize("key", ["rank-0", "rank", "rank-x", "map"])
def test_unknown_figures_are_refused(key):
    with pytest.raises(ValueError, match=r"ranks start at 1|unknown figure"):
        score().value(key)


def test_json_has_the_documented_keys_and_comes_back():
    both = score(trial(1), trial(2, (0.75, 1.0), 0.8))
    values = json.loads(json.dumps(both.to_json()))
    documented = {*KEYS, "trials", "valid_queries", "skipped_queries", "protocol", "setting", "metric", "exclusion"}
    assert documented | {"gallery_draw", "re-ranked"} <= set(values)
    assert KEYS == ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP")
    assert values["rank-1"] == 0.5
    assert values["re-ranked"] == "no"
    assert [set(KEYS) <= set(one) for one in values["trials"]] == [True, True]
    assert Score.from_json(values).to_json() == both.to_json()
    del values["trials"][0]["mINP"]
    with pytest.raises(ValueError, match="the key 'mINP' is missing"):
        Score.from_json(values)


def test_a_trial_is_the_mean_over_valid_queries():
    distances = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    ranking = rank_distances(distances, np.array(["a", "b", "z"]), np.array(["a", "b", "a"]))
    found = trial_score(ranking, 7)
    assert (found.trial, found.valid_queries, found.skipped_queries) == (7, 2, 1)
    assert found.rank(1) == 0.5
    assert found.mAP == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert found.mINP == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.chance_rank1 == pytest.approx((2 / 3 + 1 / 3) / 2)
    with pytest.raises(DataError, match="none of the 1 queries has a match"):
        trial_score(rank_distances(distances[:1], np.array(["z"]), np.array(["a", "b", "a"])), 1)


def test_trials_are_combined_once_each_and_only_of_one_kind():
    whole = combine([score(trial(2)), score(trial(1, mean=0.8))])
    assert [one.trial for one in whole.trials] == [1, 2]
    assert whole.mAP == pytest.approx(0.6)
    with pytest.raises(ValueError, match="trial 1 occurs more than once"):
        combine([score(), score()])
    with pytest.raises(ValueError, match="must agree in metric; found: euclidean; cosine"):
        combine([score(), score(trial(2), metric="cosine")])
    with pytest.raises(ValueError, match="no scores"):
        combine([])
    with pytest.raises(ValueError, match="at least one trial"):
        Score("p", "s", "m", "e", "g", "c", ())


def printed(view, width):
    console = Console(width=width, file=io.StringIO())
    console.print(view)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize("width", [80, 220])
def test_table_prints_percent_conditions_and_published_figures(width):
    text = printed(table([score(trial(1), trial(2, (0.75, 1.0), 0.8))]), width)
    for part in ("50.00", "± 25.00", "60.00", "± 20.00", "60.02", "94.18", "98.14", "58.80", "CVPR 2021"):
        assert part in text
    for part in ("all, single-shot", "euclidean distance", "same place", "official permutations", "2 trials"):
        assert part in text
    for part in ("4 queries and 1 skipped", "chance rank-1 12.50", "not re-ranked"):
        assert part in text
    assert "…" not in text
    assert "60.02" not in printed(table([score()], published=False), width)


def test_a_score_prints_how_it_was_obtained():
    text = str(score())
    for part in ("sysu-mm01", "all, single-shot", "euclidean", "same place", "official", "1 trial,", "1 skipped"):
        assert part in text
    assert "re-ranked" in str(score(re_ranked="k-reciprocal"))
    assert "not re-ranked" not in str(score(re_ranked="k-reciprocal"))


def test_published_figures_are_fractions_with_a_source():
    for row in PUBLISHED:
        assert row.source
        assert all(0 < value < 1 for value in row.values.values())
    assert published_for("regdb", "visible to thermal")[0].values == {"rank-1": 0.732, "mAP": 0.716}
    assert published_for("sysu-mm01", "indoor, single-shot")[0].values["mAP"] == 0.7298
    assert published_for("sysu-mm01", "all, multi-shot") == []
    assert len(published_for("sysu-mm01", "all, single-shot", earlier=True)) == 15
