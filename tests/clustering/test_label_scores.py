"""Scores of clusters against their definitions, image by image and pair by pair, and scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

from crossreid.clustering import label_scores as module
from crossreid.clustering.label_scores import label_scores

LABELLED = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=14)


@given(LABELLED)
def test_bcubed_and_pairwise_are_as_defined(rows):
    clusters, people = np.array([row[0] for row in rows]), [f"p{row[1]}" for row in rows]
    scores = label_scores(clusters, people)
    count = range(len(rows))
    mates = [{j for j in count if clusters[j] == clusters[i]} for i in count]
    own = [{j for j in count if people[j] == people[i]} for i in count]
    precision = np.mean([len(mates[i] & own[i]) / len(mates[i]) for i in count])
    recall = np.mean([len(mates[i] & own[i]) / len(own[i]) for i in count])
    assert scores.bcubed_precision == pytest.approx(precision)
    assert scores.bcubed_recall == pytest.approx(recall)
    assert scores.bcubed_f == pytest.approx(2 * precision * recall / (precision + recall))
    pairs = list(combinations(count, 2))
    together = [(i, j) for i, j in pairs if clusters[i] == clusters[j]]
    same = [(i, j) for i, j in pairs if people[i] == people[j]]
    right = len(set(together) & set(same))
    assert scores.pairwise_precision == pytest.approx(right / len(together) if together else 1)
    assert scores.pairwise_recall == pytest.approx(right / len(same) if same else 1)
    assert scores.ari == pytest.approx(adjusted_rand_score(people, clusters))
    assert scores.ami == pytest.approx(adjusted_mutual_info_score(people, clusters))
    assert (scores.images, scores.identities, scores.clusters) == (
        len(rows),
        len(set(people)),
        len(set(clusters.tolist())),
    )


def test_images_of_unknown_identity_count_for_nothing():
    clusters, people = np.array([0, 0, 1, 1, 2]), ["a", None, "b", "b", None]
    assert label_scores(clusters, people) == label_scores(clusters[[0, 2, 3]], ["a", "b", "b"])
    assert label_scores(clusters, [None] * 5) is None


def test_pairs_of_many_images_are_counted_exactly(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 3)
    rng = np.random.default_rng(0)
    clusters, people = rng.integers(0, 3, 200_000), rng.integers(0, 2, 200_000)
    scores = label_scores(clusters, people.astype(str).tolist())
    (_, wrong), (missed, right) = pair_confusion_matrix(people, clusters)
    assert scores.pairwise_precision == right / (right + wrong)
    assert scores.pairwise_recall == right / (right + missed)
    assert scores.ami is None
