"""Ways of ranking against their definitions, and two stages: the shortlist in its new order, before the rest in its old one."""

import numpy as np
import pytest
from scipy.stats import rankdata

from crossreid.evaluation.features import load
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.sides import sides_of
from crossreid.fusion.rankings import (
    Shortlist,
    alone,
    blocks_of,
    by_local_score,
    by_rank,
    by_rank_with_local,
    compare_by,
    concatenated,
    in_two_stages,
    mean_of_cosines,
    reciprocal_ranks,
)

PLAN = PROTOCOLS["cross-camera"]


@pytest.fixture(scope="module")
def block(coats):
    features = load(coats.tested["a"])
    embeddings = [load(coats.tested[name]).embeddings for name in "ab"]
    queries, gallery = sides_of(features, PLAN.settings[0], PLAN)
    (found,) = blocks_of(features, embeddings, PLAN, queries, gallery)
    return found


def cosines(rows):
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return unit @ unit.T


def test_one_score_alone_is_what_the_metric_gives(coats):
    features = load(coats.tested["a"]).take(np.array([0, *range(4, 48)]))  # the first query has no match
    for protocol in ("cross-camera", "market-1501", "open-set"):
        compare = compare_by(features, [features.embeddings], PROTOCOLS[protocol], alone(0))
        (ours,) = evaluate(features, protocol, metric="fused", compare=compare)
        (theirs,) = evaluate(features, protocol, metric="cosine")
        assert ours.metric == "fused"
        assert ours.each[0].rows() == theirs.each[0].rows()
        assert ours.trials[0].open_set == theirs.trials[0].open_set


def test_cosines_exclusions_and_the_simple_ways_are_as_defined(coats, block):
    rows = [load(coats.tested[name]).embeddings for name in "ab"]
    for found, own in zip(block.cosines, rows, strict=True):
        np.testing.assert_allclose(found, cosines(own), atol=1e-6)
    cameras = load(coats.tested["a"]).cameras
    np.testing.assert_array_equal(block.excluded, cameras[:, None] == cameras)
    np.testing.assert_allclose(mean_of_cosines(block), (block.cosines[0] + block.cosines[1]) / 2)
    np.testing.assert_allclose(concatenated(rows)(block), cosines(np.concatenate(rows, axis=1)), atol=1e-6)
    unit = [own / np.linalg.norm(own, axis=1, keepdims=True) for own in rows]
    np.testing.assert_allclose(concatenated(unit)(block), mean_of_cosines(block), atol=1e-6)


def test_reciprocal_ranks_are_those_of_what_is_kept(block):
    found = by_rank(block)
    for query in (0, 7, 40):
        kept = ~block.excluded[query]
        expected = sum(1 / (60 + rankdata(-own[query, kept], method="min")) for own in block.cosines)
        np.testing.assert_allclose(found[query, kept], expected)


def test_a_ranking_fused_with_itself_by_rank_is_the_same():
    scores = np.random.default_rng(0).permuted(np.arange(40.0).reshape(2, 20), axis=1)
    fused = reciprocal_ranks([scores, scores], np.zeros((2, 20), bool))
    np.testing.assert_array_equal(np.argsort(fused, axis=1), np.argsort(scores, axis=1))


@pytest.mark.parametrize("size", [1, 5, 100])
def test_the_shortlist_comes_first_and_the_rest_follows_as_it_was(block, size):
    asked = []

    def local(queries, gallery):
        asked.append(len(queries))
        return (queries * 7 + gallery * 13) % 11.0

    def first(block):
        return (1 + block.cosines[0]) / 2

    found = in_two_stages(first, size, local, by_local_score)(block)
    before = first(block)
    for query in range(len(found)):
        kept = np.flatnonzero(~block.excluded[query])
        by_first = kept[np.argsort(-before[query, kept], kind="stable")]
        listed, rest = by_first[:size], by_first[size:]
        got = kept[np.argsort(-found[query, kept], kind="stable")]
        assert set(got[:size]) == set(listed)
        assert got[size:].tolist() == rest.tolist()
        points = (block.queries[query] * 7 + block.gallery[got[: len(listed)]] * 13) % 11
        assert (np.diff(points) <= 0).all()
    assert asked == [sum(min(size, int((~row).sum())) for row in block.excluded)]


def test_reciprocal_ranks_with_local_are_among_the_listed(block):
    rows, columns = Shortlist.of(block.cosines[0], block.excluded, 4).pairs()
    local = np.arange(len(rows), dtype=float)
    found = by_rank_with_local(block, rows, columns, local)
    own = rows == 3
    expected = sum(
        1 / (60 + rankdata(-one, method="min"))
        for one in (*(c[rows[own], columns[own]] for c in block.cosines), local[own])
    )
    np.testing.assert_allclose(found[own], expected)
