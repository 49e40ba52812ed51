"""Distances against SciPy's, and the properties that ranking relies on."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from crossreid.evaluation.distances import as_embeddings, distance_blocks, distances


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_equals_scipy(metric, dtype, error):
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(n, 33)).astype(dtype) for n in (17, 29))
    found = distances(query, gallery, metric)
    assert found.dtype == torch.from_numpy(query).dtype
    np.testing.assert_allclose(found.numpy(), cdist(query, gallery, metric), rtol=error, atol=error)


def test_blocks_cover_the_queries_in_order():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(10, 4)), rng.normal(size=(6, 4))
    blocks = list(distance_blocks(query, gallery, rows=4))
    assert [(at.start, at.stop) for at, _ in blocks] == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_allclose(torch.cat([b for _, b in blocks]).numpy(), cdist(query, gallery), rtol=1e-12)


def test_repeated_gallery_rows_are_at_exactly_equal_distances():
    rng = np.random.default_rng(1)
    distinct = rng.normal(size=(50, 65))
    distinct[7, 3] = 0.0
    order = rng.integers(0, 50, 331)
    gallery = distinct[order]
    gallery[order == 7] *= np.where(np.arange((order == 7).sum()) % 2, 1.0, 1.0)[:, None]
    rows = np.flatnonzero(order == 7)
    gallery[rows[0], 3] = -0.0
    found = distances(rng.normal(size=(9, 65)), gallery).numpy()
    for kind in range(50):
        same = found[:, order == kind]
        if same.shape[1]:
            assert (same == same[:, :1]).all()


def test_integer_embeddings_tie_exactly():
    found = distances(np.array([[0, 0]]), np.array([[3, 4], [5, 0], [0, -5]])).numpy()
    assert found.tolist() == [[5.0, 5.0, 5.0]]


@pytest.mark.parametrize(
    ("query", "gallery", "metric", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "euclidean", "query embeddings have 3 dimensions and gallery embeddings 4"),
        (np.ones((2, 3)), np.ones((2, 3)), "manhattan", "unknown metric 'manhattan'"),
        (np.ones((0, 3)), np.ones((2, 3)), "euclidean", "query embeddings: expected at least one row"),
        (np.ones(3), np.ones((2, 3)), "euclidean", r"expected an array \(N, D\)"),
        (np.ones((2, 3)), np.zeros((2, 3)), "cosine", "gallery embeddings: row 0 is all zeros"),
        (np.ones((2, 3)), np.full((2, 3), np.inf), "euclidean", "gallery embeddings: an infinite value in row 0"),
    ],
)
def test_refused_by_name(query, gallery, metric, message):
    with pytest.raises(ValueError, match=message):
        distances(query, gallery, metric)


def test_half_precision_is_widened():
    assert as_embeddings(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert as_embeddings(np.ones((2, 2), dtype=np.int64)).dtype == torch.float64
