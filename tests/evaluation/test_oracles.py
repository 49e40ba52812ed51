"""Other people's implementations, where they define the same thing."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import faiss
import numpy as np
import pytest
import torch

from crossreid.evaluation.ranking import rank_embeddings
from crossreid.evaluation.reranking import expand_queries
from crossreid.evaluation.reranking_options import QueryExpansion


def sets(seed=0, people=20, queries=60, entries=300, dimensions=16):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, dimensions))
    ids = rng.integers(0, people, queries), rng.integers(0, people, entries)
    sides = [(centres[own] + 0.8 * rng.normal(size=(len(own), dimensions))).astype(np.float32) for own in ids]
    return *sides, *ids


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ranks_are_the_places_of_an_exhaustive_faiss_search(metric):
    query, gallery, ours, theirs = sets()
    index = faiss.IndexFlatL2(16) if metric == "euclidean" else faiss.IndexFlatIP(16)
    q, g = (query, gallery) if metric == "euclidean" else (query.copy(), gallery.copy())
    if metric == "cosine":
        faiss.normalize_L2(q), faiss.normalize_L2(g)
    index.add(g)
    _, order = index.search(q, len(g))
    hits = theirs[order] == ours[:, None]
    ranking = rank_embeddings(query, gallery, ours, theirs, metric=metric)
    assert ranking.first.tolist() == (hits.argmax(axis=1) + 1).tolist()
    last = len(gallery) - hits[:, ::-1].argmax(axis=1)
    np.testing.assert_allclose(ranking.inverse_penalty, hits.sum(axis=1) / last, rtol=0, atol=1e-12)


def their_precision(query, gallery, ours, theirs):
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    torch.set_num_threads(1)
    calculator = AccuracyCalculator(include=("mean_average_precision", "precision_at_1"), k=len(gallery))
    return calculator.get_accuracy(*map(torch.from_numpy, (query, ours, gallery, theirs)))


def test_precision_is_that_of_pytorch_metric_learning():
    query, gallery, ours, theirs = sets(1)
    # In a process of its own: it changes what faiss' indexes do, for everything else in the process too.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as apart:
        expected = apart.submit(their_precision, query, gallery, ours, theirs).result()
    ranking = rank_embeddings(query, gallery, ours, theirs)
    assert ranking.mAP == pytest.approx(expected["mean_average_precision"], abs=1e-6)
    assert ranking.cmc[0] == pytest.approx(expected["precision_at_1"], abs=1e-6)


def test_expansion_uses_the_neighbours_that_faiss_finds():
    query, gallery, *_ = sets(2)
    faiss.normalize_L2(query), faiss.normalize_L2(gallery)
    index = faiss.IndexFlatIP(16)
    index.add(gallery)
    similar, places = index.search(query, 5)
    total = query + (np.maximum(similar, 0)[:, :, None] ** 3 * gallery[places]).sum(axis=1)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    found = expand_queries(query, gallery, QueryExpansion(neighbours=5, alpha=3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)
