"""Distances of pairs against a loop over them."""

import numpy as np
import pytest

from crossreid.analysis.pair_distances import BINS, pair_distances, place_of, summarised
from crossreid.data.records import DataError
from crossreid.evaluation.features import Features


def features_of(count=40, *, cameras=None, tracklets=None, seed=0):
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, 5))
    return Features(
        embeddings=(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        identities=generator.integers(0, 6, count).astype(str),
        cameras=generator.integers(1, 4, count) if cameras is None else cameras,
        modalities=np.zeros(count, dtype=int),
        positions=np.zeros(count, dtype=int),
        names=np.array([""] * count),
        roles=np.array(["query"] * count),
        tracklets=tracklets,
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_every_pair_is_there_once_under_its_kind(metric):
    features = features_of()
    expected = {"same": [], "across": [], "different": []}
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            one, other = (features.embeddings[row].astype(np.float64) for row in (i, j))
            gap = 1 - one @ other if metric == "cosine" else np.linalg.norm(one - other)
            same = features.identities[i] == features.identities[j]
            kind = ("same" if features.cameras[i] == features.cameras[j] else "across") if same else "different"
            expected[kind].append(gap)
    found = pair_distances(features, metric)
    assert sum(len(values) for values in found.values()) == 40 * 39 // 2
    for kind, values in expected.items():
        np.testing.assert_allclose(np.sort(found[kind]), np.sort(values), atol=2e-4 if metric == "euclidean" else 2e-6)


def test_across_modalities_pairs_of_two_identities_are_across_them_too():
    features = features_of()
    kinds = np.arange(40) % 2
    features = Features(features.embeddings, features.identities, features.cameras, kinds, features.positions,
                        features.names, features.roles)  # fmt: skip
    found = pair_distances(features, across="modalities")
    expected = {"same": [], "across": [], "different": []}
    for i in range(40):
        for j in range(i + 1, 40):
            if features.identities[i] == features.identities[j]:
                kind = "same" if kinds[i] == kinds[j] else "across"
            elif kinds[i] != kinds[j]:
                kind = "different"
            else:
                continue
            expected[kind].append(1 - features.embeddings[i].astype(np.float64) @ features.embeddings[j])
    for kind, values in expected.items():
        np.testing.assert_allclose(np.sort(found[kind]), np.sort(values), atol=2e-6)
    with pytest.raises(DataError, match="expected cameras or modalities"):
        pair_distances(features, across="places")


def test_the_summary_is_what_loops_count():
    pairs = {
        "same": np.array([0.0012, 0.0031], dtype=np.float32),
        "across": np.array([0.1, 0.4, 0.4, 0.9], dtype=np.float32),
        "different": np.array([0.4, 0.5, 1.2], dtype=np.float32),
    }
    summary = summarised(pairs)
    nearer = [float(a < d) + 0.5 * float(a == d) for a in pairs["across"] for d in pairs["different"]]
    assert summary["auc"] == pytest.approx(np.mean(nearer))
    across = summary["kinds"]["across"]
    assert (across["pairs"], len(across["histogram"]), sum(across["histogram"])) == (4, BINS, 4)
    assert across["mean"] == pytest.approx(0.45)
    assert across["deviation"] == pytest.approx(np.sqrt((0.35**2 + 2 * 0.05**2 + 0.45**2) / 4))
    assert across["histogram"][180] + across["histogram"][179] == 1  # 0.9 of 2 in 400 bins
    assert summary["kinds"]["same"]["histogram"][0] == 2


def test_one_tracklet_alone_is_no_pair_of_the_same_view():
    summary = summarised({"same": np.empty(0), "across": np.array([0.1]), "different": np.array([0.2])})
    assert summary["kinds"]["same"]["mean"] is None
    assert summary["auc"] == 1
    with pytest.raises(DataError, match="no pair of images of one identity across cameras"):
        summarised({"same": np.array([0.1]), "across": np.empty(0), "different": np.array([0.2])})
    with pytest.raises(DataError, match="no pair of images of two identities"):
        summarised({"same": np.array([0.1]), "across": np.array([0.1]), "different": np.empty(0)})


def test_tracklets_stand_in_for_unknown_cameras():
    unknown = np.zeros(40, dtype=int)
    films = np.array([f"film {row % 3}" for row in range(40)])
    assert place_of(features_of())[0] == "camera"
    assert place_of(features_of(cameras=unknown, tracklets=films))[0] == "tracklet"
    both = pair_distances(features_of(cameras=unknown, tracklets=films))
    assert {kind: len(v) for kind, v in both.items()} == {
        kind: len(v) for kind, v in pair_distances(features_of(cameras=np.arange(40) % 3 + 1)).items()
    }
    with pytest.raises(DataError, match="expected the camera or the tracklet of every image"):
        place_of(features_of(cameras=unknown))
