"""Query by query: the means of a score are the means of its queries, and what has no match is named."""

import numpy as np
import pytest

from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.query_scores import detailed
from crossreid.evaluation.scores import KEYS


@pytest.fixture(scope="module")
def score():
    rng, rows = np.random.default_rng(0), np.arange(40)
    identities = np.array([f"p{row % 5}" for row in rows])
    identities[3] = "no"
    cameras = rows % 4 + 1
    return evaluate(
        Features(
            rng.normal(size=(40, 4)), identities, cameras, np.zeros(40, int),
            positions_of(list(zip(identities, cameras, strict=True))), np.array([f"{row}.jpg" for row in rows]),
            np.where(rows < 10, "query", "gallery"),
        ),
        "market-1501",
    )[0]  # fmt: skip


def test_means_over_queries_are_the_score(score):
    (each,) = score.each
    for key in KEYS:
        values = each.values(key)
        assert np.isnan(values).sum() == score.skipped_queries == 1
        assert np.nanmean(values) == pytest.approx(score.value(key))


def test_rows_name_queries_and_identities(score):
    values = detailed(score.to_json(), score.each, queries=True, identities=True)
    rows = values["per-query"]
    assert [row["query"] for row in rows] == [f"{row}.jpg" for row in range(10)]
    assert rows[3]["first"] == [None]
    assert rows[3]["AP"] is None
    assert {row["first"][0] <= 5 for row in rows if row["rank-5"] == 1} == {True}
    people = values["per-identity"]
    assert people[-1]["identity"] == "no"
    assert people[-1]["skipped"] == 1
    figures = [row["mAP"] for row in people[:-1]]
    assert figures == sorted(figures)
    total = sum(row["queries"] * row["mAP"] for row in people[:-1])
    assert total / 9 == pytest.approx(score.mAP)
    assert "per-query" not in score.to_json()


def test_draws_are_alike_only_where_there_is_no_choice():
    rng = np.random.default_rng(0)
    groups = [(f"{i}", camera) for i in range(4) for camera in (1, 2, 3) for _ in range(3)]
    cameras = np.array([camera for _, camera in groups])
    features = Features(
        rng.normal(size=(36, 4)), np.array([name for name, _ in groups]), cameras, (cameras == 3).astype(int),
        positions_of(groups), np.array([""] * 36), np.where(cameras == 3, "query", "gallery"),
    )  # fmt: skip
    single, multi = evaluate(features, "sysu-mm01", settings=["all, single-shot", "all, multi-shot"])
    assert not single.same_gallery
    assert multi.same_gallery
    assert multi.spread("mAP") == pytest.approx(0)
    assert "identical, because each draw takes all images" in str(multi)
    assert [row["query"] for row in single.each[0].rows()] == [str(row) for row in np.flatnonzero(cameras == 3)]
