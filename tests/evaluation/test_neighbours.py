"""Neighbours against whole matrices in float64, where rounding would decide if it could."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from test_reranking import dense, reranked

from crossreid.evaluation.neighbours import Rows, nearest_neighbours
from crossreid.evaluation.reranking_options import KReciprocal


def people(seed, queries, entries, names, dimensions=2048, noise=2.0):
    """Long embeddings in float32, as networks give them: squares of thousands, of which differences cancel."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((names, dimensions), dtype=np.float32)
    return [
        centres[rng.integers(0, names, count)] + noise * rng.standard_normal((count, dimensions), dtype=np.float32)
        for count in (queries, entries)
    ]


def alike(seed, queries, entries):
    """Rows of which many are equal, and many at distances that are equal but for how they are rounded: the same numbers in another
    order, and mirrored."""
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((12, 96)).astype(np.float32)
    rows = np.concatenate([one, -one, one[:, ::-1], np.roll(one, 1, axis=1), one * np.float32(1.5)])
    return rows[rng.integers(0, len(rows), queries)], rows[rng.integers(0, len(rows), entries)]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 7, 40, 160])
def test_equals_a_stable_sort_of_exact_distances(metric, k):
    query, gallery = people(0, 40, 120, 12, dimensions=500)
    everyone = np.concatenate([query, gallery]).astype(float)
    if metric == "cosine":
        everyone /= np.linalg.norm(everyone, axis=1, keepdims=True)
    expected = cdist(everyone, everyone, "sqeuclidean")
    found, largest = nearest_neighbours(Rows(torch.from_numpy(query), torch.from_numpy(gallery), metric), k, 160)
    np.testing.assert_array_equal(found, expected.argsort(axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(largest, expected.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize("copies", [1, 30, 90])
def test_equal_rows_are_neighbours_by_place(copies):
    """More doubles than are looked at first, so that all rows are looked at again."""
    base = people(1, 3, 1, 2, dimensions=64)[0]
    rows = np.tile(base, (copies, 1))
    found, _ = nearest_neighbours(
        Rows(torch.from_numpy(rows[:1]), torch.from_numpy(rows[1:]), "euclidean"), copies, len(rows)
    )
    for row in range(len(rows)):
        assert found[row].tolist() == list(range(row % 3, len(rows), 3))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_decisions_do_not_hang_on_the_order_of_summation(metric):
    """Another order of the dimensions is another rounding of every product, as another device's is."""
    query, gallery = alike(2, 60, 140)
    order = np.random.default_rng(3).permutation(query.shape[1])
    options = KReciprocal(k1=12, k2=4)
    one = reranked(query, gallery, options, metric)
    other = reranked(np.ascontiguousarray(query[:, order]), np.ascontiguousarray(gallery[:, order]), options, metric)
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    wide = reranked(query.astype(float), gallery.astype(float), options, metric)
    np.testing.assert_allclose(one, wide, rtol=0, atol=1e-5)


@pytest.mark.parametrize("noise", [0.7, 2.0, 3.0])
def test_long_float32_embeddings_give_what_float64_gives(noise):
    query, gallery = people(4, 120, 400, 30, noise=noise)
    expected = dense(query.astype(float), gallery.astype(float), 20, 6, 0.3)
    np.testing.assert_allclose(reranked(query, gallery, KReciprocal()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_cheap_products_of_training_are_switched_off_and_on_again(precision):
    query, gallery = people(5, 50, 150, 20)
    expected = reranked(query, gallery, KReciprocal())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = reranked(query, gallery, KReciprocal())
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found, expected)


def test_another_product_within_the_bound_changes_no_neighbour(monkeypatch):
    """The worst that a device may round: every approximate distance moved by most of the bound, at random."""
    query, gallery = people(6, 60, 240, 25, noise=3.0)
    rows = Rows(torch.from_numpy(query), torch.from_numpy(gallery), "euclidean")
    expected, _ = nearest_neighbours(rows, 25, 300)
    plain, rng = Rows.approximate, torch.Generator().manual_seed(0)

    def moved(self, at, others=slice(None)):
        found = plain(self, at, others)
        shift = (torch.rand(found.shape, generator=rng) * 2 - 1) * 0.9 * self.error[at, None].float()
        return (found + shift).clamp_(min=0)

    monkeypatch.setattr(Rows, "approximate", moved)
    found, _ = nearest_neighbours(rows, 25, 300)
    np.testing.assert_array_equal(found, expected)
    error = (plain(rows, slice(0, 300)) - torch.from_numpy(cdist(*[rows.given.double()] * 2, "sqeuclidean"))).abs()
    assert (error < 0.1 * rows.error[:, None]).all()  # what this processor rounds is far within it


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_devices_without_the_compiled_sum_decide_the_same(metric, monkeypatch):
    query, gallery = (torch.from_numpy(side) for side in alike(7, 70, 150))
    options = KReciprocal(k1=9, k2=3)
    expected = reranked(query, gallery, options, metric)
    monkeypatch.setattr(Rows, "_compiled", Rows._by_differences)
    np.testing.assert_allclose(reranked(query, gallery, options, metric), expected, rtol=0, atol=1e-6)
