"""The ranking core against hand-worked cases, slow loops written from the definitions, and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from crossreid.evaluation.exclusion import NO_EXCLUSION, SAME_CAMERA, SAME_IDENTITY_AND_CAMERA, Exclusion, same_place
from crossreid.evaluation.measures import Ranking, concatenate
from crossreid.evaluation.ranking import rank_distances, rank_embeddings

FIRST = "first image of each identity"
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def slow(distances, q_ids, g_ids, q_cams, g_cams, exclusion, junk, counting, trapezoid):
    """One query at a time, from the definitions: Python's stable sort by distance, then a walk down the list."""
    rows = []
    for q in range(len(q_ids)):
        keep = []
        for g in range(len(g_ids)):
            same = q_ids[q] == g_ids[g] and q_cams[q] == g_cams[g] and q_cams[q] > 0
            if exclusion.identity_and_camera and same:
                continue
            if (q_cams[q], g_cams[g]) in exclusion.places or junk[q][g]:
                continue
            keep.append(g)
        order = sorted(keep, key=lambda g: distances[q][g])
        hits = [g_ids[g] == q_ids[q] for g in order]
        if not any(hits):
            rows.append((0, np.nan, np.nan, 0, len(keep)))
            continue
        found, area, last_precision, last_recall, step = 0, 0.0, 1.0, 0.0, 0.0
        for rank, hit in enumerate(hits, start=1):
            found += hit
            precision, recall = found / rank, found / sum(hits)
            area += (recall - last_recall) * (precision + last_precision) / 2
            step += precision * hit / sum(hits)
            last_precision, last_recall = precision, recall
        names = [g_ids[g] for g in order]
        walk = list(dict.fromkeys(names)) if counting == FIRST else names
        last = max(rank for rank, hit in enumerate(hits, start=1) if hit)
        rows.append((walk.index(q_ids[q]) + 1, area if trapezoid else step, sum(hits) / last, sum(hits), len(keep)))
    return rows


def assert_same(ranking, rows):
    first, ap, inp, matches, kept = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_array_equal(ranking.first, first)
    np.testing.assert_array_equal(ranking.matches, matches)
    np.testing.assert_array_equal(ranking.kept, kept)
    np.testing.assert_allclose(ranking.average_precision, ap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ranking.inverse_penalty, inp, rtol=0, atol=1e-12)


@st.composite
def problems(draw):
    queries, entries = draw(st.integers(1, 6)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    people, cameras = draw(st.sampled_from([1, 3, 8])), draw(st.sampled_from([1, 3]))
    distances = rng.integers(0, levels, (queries, entries)) * draw(st.sampled_from([1.0, 0.1, 1e-12, 1e9]))
    distances = distances.astype(draw(st.sampled_from([np.float32, np.float64])))
    ids = (rng.integers(0, people, queries), rng.integers(0, people, entries))
    cams = (rng.integers(0, cameras + 1, queries), rng.integers(0, cameras + 1, entries))
    junk = rng.random((queries, entries)) < draw(st.sampled_from([0.0, 0.2]))
    rule = draw(st.sampled_from([NO_EXCLUSION, SAME_IDENTITY_AND_CAMERA, same_place((1, 2), (3, 1))]))
    return distances, *ids, *cams, rule, junk


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(["every image", FIRST]), st.booleans())
def test_equals_the_slow_loop_ties_included(device, problem, counting, trapezoid):
    distances, q_ids, g_ids, q_cams, g_cams, rule, junk = problem
    ranking = rank_distances(
        torch.from_numpy(distances).to(device),
        q_ids, g_ids, q_cams, g_cams,
        exclusion=rule, junk=junk, counting=counting, trapezoid=trapezoid,
    )  # fmt: skip
    assert_same(ranking, slow(distances, q_ids, g_ids, q_cams, g_cams, rule, junk, counting, trapezoid))


def test_worked_by_hand():
    # Order of the gallery by distance: b a b a c a; query a is found at ranks 2, 4, 6.
    distances = np.array([[0.2, 0.1, 0.3, 0.4, 0.5, 0.6]])
    gallery = np.array(["a", "b", "b", "a", "c", "a"])
    ranking = rank_distances(distances, np.array(["a"]), gallery)
    assert ranking.first.tolist() == [2]
    assert ranking.average_precision[0] == pytest.approx((1 / 2 + 2 / 4 + 3 / 6) / 3, abs=1e-15)
    assert ranking.inverse_penalty[0] == pytest.approx(3 / 6, abs=1e-15)
    assert ranking.cmc.tolist() == [0, 1, 1, 1, 1, 1]
    assert ranking.chance_rank1 == pytest.approx(0.5)
    trapezoid = rank_distances(distances, np.array(["a"]), gallery, trapezoid=True)
    expected = ((0 / 1 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2 + (2 / 5 + 3 / 6) / 2) / 3
    assert trapezoid.average_precision[0] == pytest.approx(expected, abs=1e-15)


def test_first_image_of_each_identity_counts_identities_not_images():
    # Ahead of the query's a: b b b c, two identities; so rank 3 of 3 identities, but 5 of 6 images.
    distances = np.arange(6.0)[None]
    gallery = np.array(["b", "b", "b", "c", "a", "a"])
    ranking = rank_distances(distances, np.array(["a"]), gallery, counting=FIRST)
    assert ranking.first.tolist() == [3]
    assert ranking.positions == 3
    assert ranking.average_precision[0] == pytest.approx((1 / 5 + 2 / 6) / 2)
    assert rank_distances(distances, np.array(["a"]), gallery).first.tolist() == [5]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_go_by_gallery_order_on_every_device(device, dtype):
    entries = 500
    distances = torch.full((3, entries), 0.25, dtype=dtype, device=device)
    names = np.full(entries, 9)
    names[[100, 400]] = 1
    ranking = rank_distances(distances, np.array([1, 9, 2]), names)
    assert ranking.first.tolist() == [101, 1, 0]
    assert ranking.average_precision[0] == pytest.approx((1 / 101 + 2 / 401) / 2, abs=1e-15)
    assert ranking.inverse_penalty[0] == pytest.approx(2 / 401, abs=1e-15)


def test_equal_embeddings_tie_whatever_the_matrix_product_rounds():
    rng = np.random.default_rng(3)
    one, queries = rng.normal(size=37).astype(np.float32), rng.normal(size=(5, 37)).astype(np.float32)
    gallery = np.tile(one, (203, 1))
    names = np.zeros(203, dtype=int)
    names[150] = 1
    for metric in ("euclidean", "cosine"):
        ranking = rank_embeddings(queries, gallery, np.ones(5, dtype=int), names, metric=metric)
        assert ranking.first.tolist() == [151] * 5


def test_step_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    distances, gallery, queries = rng.random((40, 300)), rng.integers(0, 12, 300), rng.integers(0, 12, 40)
    ranking = rank_distances(distances, queries, gallery)
    expected = [average_precision_score(gallery == q, -row) for q, row in zip(queries, distances, strict=True)]
    np.testing.assert_allclose(ranking.average_precision, expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gallery_order_and_scale_do_not_matter_without_ties(seed):
    rng = np.random.default_rng(seed)
    distances = rng.permuted(np.tile(np.arange(1.0, 61.0), (7, 1)), axis=1)
    queries, gallery = rng.integers(0, 6, 7), rng.integers(0, 6, 60)
    before = rank_distances(distances, queries, gallery)
    order = rng.permutation(60)
    for after in (
        rank_distances(distances[:, order], queries, gallery[order]),
        rank_distances(np.log(distances) * 3 - 5, queries, gallery),
        rank_distances(distances**3, queries, gallery),
    ):
        np.testing.assert_array_equal(before.first, after.first)
        np.testing.assert_array_equal(before.average_precision, after.average_precision)
        np.testing.assert_array_equal(before.inverse_penalty, after.inverse_penalty)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_distractors_never_help_and_only_those_ahead_hurt(seed, copies):
    rng = np.random.default_rng(seed)
    distances, queries, gallery = rng.random((5, 30)), rng.integers(0, 4, 5), rng.integers(0, 4, 30)
    before = rank_distances(distances, queries, gallery)
    far = np.full((5, copies), 2.0)
    behind = rank_distances(np.hstack([distances, far]), queries, np.append(gallery, [99] * copies))
    np.testing.assert_array_equal(before.first, behind.first)
    np.testing.assert_array_equal(before.average_precision, behind.average_precision)
    ahead = rank_distances(np.hstack([distances, -far]), queries, np.append(gallery, [99] * copies))
    valid = before.valid
    np.testing.assert_array_equal(ahead.first[valid], before.first[valid] + copies)
    once = rank_distances(np.hstack([distances, -far]), queries, np.append(gallery, [99] * copies), counting=FIRST)
    alone = rank_distances(distances, queries, gallery, counting=FIRST)
    np.testing.assert_array_equal(once.first[valid], alone.first[valid] + 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_many_blocks_give_what_one_gives(dtype):
    rng = np.random.default_rng(1)
    distances = torch.from_numpy(rng.integers(0, 300, (700, 1500))).to(dtype)
    queries, gallery = rng.integers(0, 40, 700), rng.integers(0, 40, 1500)
    whole = rank_distances(distances, queries, gallery, counting=FIRST)
    parts = [
        rank_distances(distances[i : i + 7], queries[i : i + 7], gallery, counting=FIRST) for i in range(0, 700, 7)
    ]
    joined = concatenate(parts)
    for name in ("first", "average_precision", "inverse_penalty", "matches", "kept"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(joined, name))


def test_embeddings_give_what_their_distances_give():
    rng = np.random.default_rng(2)
    query, gallery = rng.normal(size=(30, 16)), rng.normal(size=(80, 16))
    q_ids, g_ids = rng.integers(0, 5, 30), rng.integers(0, 5, 80)
    direct = np.linalg.norm(query[:, None] - gallery[None], axis=-1)
    by_distance, by_embedding = rank_distances(direct, q_ids, g_ids), rank_embeddings(query, gallery, q_ids, g_ids)
    np.testing.assert_array_equal(by_distance.first, by_embedding.first)
    np.testing.assert_allclose(by_distance.average_precision, by_embedding.average_precision, rtol=0, atol=1e-12)


def test_one_entry_and_queries_without_a_match():
    ranking = rank_distances(np.array([[0.3], [0.1]]), np.array(["a", "b"]), np.array(["a"]))
    assert ranking.first.tolist() == [1, 0]
    assert ranking.valid.tolist() == [True, False]
    assert ranking.skipped == 1
    assert ranking.mAP == ranking.mINP == ranking.cmc[0] == ranking.chance_rank1 == 1.0
    assert np.isnan(ranking.average_precision[1])
    nobody = rank_distances(np.array([[0.3]]), np.array(["b"]), np.array(["a"]))
    assert nobody.skipped == 1
    assert np.isnan(nobody.mAP)


def test_chance_is_the_mean_rank1_of_random_orders():
    rng = np.random.default_rng(5)
    queries, gallery = rng.integers(0, 3, 8), np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    cameras = rng.integers(1, 3, 8), rng.integers(1, 3, 10)
    means = [
        rank_distances(rng.random((8, 10)), queries, gallery, *cameras, exclusion=same_place((1, 2)), counting=FIRST)
        for _ in range(3000)
    ]
    drawn = np.mean([ranking.cmc[0] for ranking in means])
    assert means[0].chance_rank1 == pytest.approx(drawn, abs=0.012)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": np.array([[0.1, np.nan]])}, "query 0 to gallery entry 1 is NaN"),
        ({"distances": np.array([[np.inf, 0.2]])}, "query 0 to gallery entry 0 is not finite"),
        ({"distances": np.zeros((0, 2)), "query_identities": np.array([], dtype=int)}, "query is empty"),
        ({"distances": np.zeros((1, 0)), "gallery_identities": np.array([], dtype=int)}, "gallery is empty"),
        ({"distances": np.zeros(2)}, r"expected an array \(Q, G\)"),
        ({"query_identities": np.array([1, 2])}, "query identities: expected 1"),
        ({"gallery_identities": np.array([1])}, "gallery identities: expected 2"),
        ({"gallery_identities": np.array(["1", "2"])}, "both be text or both be numbers"),
        ({"exclusion": SAME_IDENTITY_AND_CAMERA}, "needs the cameras"),
        ({"junk": np.zeros(3, dtype=bool)}, "junk: expected a mask"),
        ({"counting": "some"}, "unknown counting rule 'some'"),
    ],
)
def test_refused_by_name(change, message):
    given = {
        "distances": np.array([[0.1, 0.2]]),
        "query_identities": np.array([1]),
        "gallery_identities": np.array([1, 2]),
    }
    with pytest.raises(ValueError, match=message):
        rank_distances(**(given | change))


def test_nan_in_embeddings_is_named_with_its_side_and_row():
    good, bad = np.ones((3, 2)), np.ones((3, 2))
    bad[1, 0] = np.nan
    with pytest.raises(ValueError, match="gallery embeddings: NaN in row 1"):
        rank_embeddings(good, bad, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="query embeddings: NaN in row 1"):
        rank_embeddings(bad, good, np.zeros(3), np.zeros(3))


def test_rankings_of_different_galleries_are_not_joined():
    one, two = (rank_distances(np.zeros((1, n)), np.array([1]), np.ones(n, dtype=int)) for n in (1, 2))
    assert isinstance(one, Ranking)
    with pytest.raises(ValueError, match="use one gallery"):
        concatenate([one, two])


def test_unknown_cameras_are_not_the_same_camera():
    ranking = rank_distances(
        np.array([[1.0, 2.0]]), np.array([1]), np.array([1, 1]), np.array([0]), np.array([0, 3]),
        exclusion=Exclusion("same", identity_and_camera=True),
    )  # fmt: skip
    assert ranking.kept.tolist() == [2]


@given(st.integers(0, 200))
def test_leaving_out_the_querys_camera_is_a_mask_over_cameras(seed):
    rng = np.random.default_rng(seed)
    identities, cameras = rng.integers(0, 4, 24), rng.integers(0, 4, 24)  # camera 0: unknown, excludes nothing
    away = rng.random((8, 16))
    found = rank_distances(away, identities[:8], identities[8:], cameras[:8], cameras[8:], exclusion=SAME_CAMERA)
    mask = (cameras[:8, None] == cameras[None, 8:]) & (cameras[:8, None] > 0)
    expected = rank_distances(away, identities[:8], identities[8:], junk=mask)
    for name in ("first", "average_precision", "inverse_penalty", "matches", "kept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
