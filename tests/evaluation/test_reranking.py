"""Re-ranking against the definitions written out densely, query expansion and normalisation against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from crossreid.evaluation.ranking import rank_distances
from crossreid.evaluation.reranking import expand_queries, normalised_blocks, reranked_blocks
from crossreid.evaluation.reranking_options import KReciprocal, QueryExpansion, make_reranking

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def dense(query, gallery, k1, k2, weight, hidden=False):
    """Zhong et al., equations 2 to 12, one image at a time with whole matrices; `hidden`: gallery columns are farthest."""
    everyone = np.concatenate([query, gallery])
    original = cdist(everyone, everyone, "sqeuclidean")
    original = original / np.maximum(original.max(axis=1, keepdims=True), np.finfo(float).tiny)
    sought = original.copy()
    if hidden:
        sought[:, len(query) :] = original.max()
    order = np.argsort(sought, axis=1, kind="stable")

    def reciprocal(i, k):
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    encoding = np.zeros_like(original)
    for i in range(len(everyone)):
        first = reciprocal(i, k1)
        expanded = set(first)
        for candidate in first:
            other = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(other & first) > 2 / 3 * len(other):
                expanded |= other
        members = sorted(expanded)
        encoding[i, members] = np.exp(-original[i, members])
        encoding[i] /= max(encoding[i].sum(), 1e-300)  # an image with many doubles may not be its own neighbour
    if k2 > 1:
        encoding = np.stack([encoding[order[i, :k2]].mean(axis=0) for i in range(len(everyone))])
    count = len(query)
    shared = np.array([np.minimum(row, encoding[count:]).sum(axis=1) for row in encoding[:count]])
    most = np.array([np.maximum(row, encoding[count:]).sum(axis=1) for row in encoding[:count]])
    return (1 - weight) * (1 - shared / np.maximum(most, 1e-300)) + weight * original[:count, count:]


def sets(seed, queries, entries, clustered, dimensions=8):
    rng = np.random.default_rng(seed)
    if not clustered:
        return rng.normal(size=(queries, dimensions)), rng.normal(size=(entries, dimensions))
    centres = rng.normal(size=(max(2, entries // 10), dimensions))

    def side(count):
        return centres[rng.integers(0, len(centres), count)] + 0.3 * rng.normal(size=(count, dimensions))

    return side(queries), side(entries)


def reranked(query, gallery, options, metric="euclidean", **how):
    return torch.cat([block for _, block in reranked_blocks(query, gallery, options, metric, **how)]).cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.0), (5, 1, 0.5), (1, 2, 1.0)])
def test_equals_the_dense_definition(device, clustered, k1, k2, weight):
    query, gallery = sets(1, 25, 120, clustered)
    on_device = (torch.from_numpy(query).to(device), torch.from_numpy(gallery).to(device))
    found = reranked(*on_device, KReciprocal(k1=k1, k2=k2, weight=weight))
    np.testing.assert_allclose(found, dense(query, gallery, k1, k2, weight), rtol=0, atol=1e-10)
    single = reranked(query.astype(np.float32), gallery.astype(np.float32), KReciprocal(k1=k1, k2=k2, weight=weight))
    np.testing.assert_allclose(single, found, rtol=0, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 30), st.integers(1, 9), st.integers(1, 5))
def test_equals_the_dense_definition_on_small_sets_with_ties(seed, queries, entries, k1, k2):
    """Few whole-number coordinates: equal images, equal distances, and sets smaller than k1."""
    rng = np.random.default_rng(seed)
    query, gallery = (rng.integers(0, 3, (count, 2)).astype(float) for count in (queries, entries))
    expected = dense(query, gallery, min(k1, queries + entries - 1), k2, 0.3)
    if round(k1 / 2) != round(min(k1, queries + entries - 1) / 2):
        return  # the definition says nothing of fewer images than neighbours
    np.testing.assert_allclose(reranked(query, gallery, KReciprocal(k1=k1, k2=k2)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 1), (40, 3)])
def test_a_hidden_gallery_is_nobodys_neighbour(device, k1, k2):
    """With more neighbours than queries gallery images follow them, by place."""
    query, gallery = sets(4, 30, 60, True)
    options = KReciprocal(k1=k1, k2=k2, gallery="hidden")
    found = reranked(*(torch.from_numpy(side).to(device) for side in (query, gallery)), options)
    np.testing.assert_allclose(found, dense(query, gallery, k1, k2, 0.3, hidden=True), rtol=0, atol=1e-10)
    assert np.abs(found - dense(query, gallery, k1, k2, 0.3)).max() > 0.01
    assert str(options).endswith("gallery hidden from the neighbour search)")


def test_cosine_is_euclidean_on_unit_vectors():
    query, gallery = sets(2, 20, 80, True)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery)]
    one, other = reranked(query, gallery, KReciprocal(), "cosine"), reranked(*unit, KReciprocal())
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_blocks_do_not_matter():
    query, gallery = sets(3, 50, 90, True)
    one, other = reranked(query, gallery, KReciprocal(), rows=7), reranked(query, gallery, KReciprocal())
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_it_helps_where_company_tells():
    """Crowds of several views each: rank-1 by company is better than by distance alone."""
    rng = np.random.default_rng(0)
    people, views = 40, 12
    centres = rng.normal(size=(people, 16))
    gallery = (centres[:, None] + 0.55 * rng.normal(size=(people, views, 16))).reshape(-1, 16)
    query = centres + 1.1 * rng.normal(size=(people, 16))
    labels = np.repeat(np.arange(people), views)
    plain = rank_distances(cdist(query, gallery), np.arange(people), labels)
    better = rank_distances(reranked(query, gallery, KReciprocal(k1=10, k2=4)), np.arange(people), labels)
    assert better.mAP > plain.mAP + 0.02


def test_query_expansion_equals_the_loop():
    query, gallery = sets(4, 15, 60, True)
    unit_query, unit = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery))
    rows = []
    for vector in unit_query:
        similar = unit @ vector
        total = vector.copy()
        for place in np.argsort(-similar, kind="stable")[:4]:
            total += max(similar[place], 0) ** 2.5 * unit[place]
        rows.append(total / np.linalg.norm(total))
    options = QueryExpansion(neighbours=4, alpha=2.5)
    np.testing.assert_allclose(expand_queries(query, gallery, options).numpy(), rows, rtol=0, atol=1e-12)
    found = reranked(query, gallery, options)
    np.testing.assert_allclose(found, 1 - np.array(rows) @ unit.T, rtol=0, atol=1e-12)


def test_normalised_distances_have_mean_0_and_spread_1_in_each_pair_of_groups():
    rng = np.random.default_rng(5)
    ours, theirs = rng.integers(1, 4, 70), rng.integers(4, 7, 110)
    distances = rng.random((70, 110)) + 3.0 * ours[:, None] * theirs

    def blocks():
        for start in range(0, 70, 16):
            yield slice(start, min(start + 16, 70)), torch.from_numpy(distances[start : start + 16])

    found = torch.cat([block for _, block in normalised_blocks(blocks, ours, theirs)]).numpy()
    for one in (1, 2, 3):
        for other in (4, 5, 6):
            given, part = distances[np.ix_(ours == one, theirs == other)], found[np.ix_(ours == one, theirs == other)]
            np.testing.assert_allclose(part, (given - given.mean()) / given.std(), rtol=0, atol=1e-9)


def test_equal_distances_are_only_centred():
    found = [
        block
        for _, block in normalised_blocks(lambda: iter([(slice(0, 2), torch.full((2, 3), 5.0))]), [1, 1], [2, 2, 2])
    ]
    assert torch.equal(found[0], torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("k-means", {}, "unknown re-ranking 'k-means'; choose one of: k-reciprocal, query-expansion"),
        ("k-reciprocal", {"k1": "0"}, "k1: Input should be greater than or equal to 1. Options: k1, k2, weight"),
        ("k-reciprocal", {"k3": "1"}, "k3: Extra inputs are not permitted"),
        ("query-expansion", {"alpha": "x"}, "alpha: Input should be a valid number"),
    ],
)
def test_refused_by_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_reranking(name, options)


def test_options_are_told():
    assert str(make_reranking("k-reciprocal", {"k1": "30"})) == "k-reciprocal (k1 30, k2 6, lambda 0.3)"
    assert str(make_reranking("query-expansion")) == "alpha query expansion (n 10, alpha 3)"
