"""Clusters keep what films and frames say, whatever the method, and without that are what libraries make of the cosines."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.cluster import HDBSCAN

from crossreid.clustering import linkage as linkage_of_crops
from crossreid.clustering import neighbours
from crossreid.clustering.cluster_crops import ClusterOptions, cluster_crops
from crossreid.clustering.crops import Crops
from crossreid.errors import CrossreidError
from drawn_crops import at, crops_of, people, same_partition

WAYS = [
    ClusterOptions(), ClusterOptions(nearest=4), ClusterOptions(method="agglomerative"),
    ClusterOptions(method="agglomerative", linkage="complete"), ClusterOptions(method="hdbscan", min_samples=1),
]  # fmt: skip
NAMES = ["components", "nearest", "average", "complete", "hdbscan"]


def found(crops, options, threshold=0.5):
    return cluster_crops(crops, None if options.method == "hdbscan" else at(threshold, crops), options)


def shuffled(crops, seed):
    """The same crops as they would come in another order, through the door that sorts them."""
    from crossreid.clustering.crops import crops_of_embeddings
    from crossreid.evaluation.embedding_files import Embeddings

    order = np.random.default_rng(seed).permutation(len(crops))
    columns = {
        name: np.fromiter((getattr(crops, name)[row] for row in order), object, len(order))
        for name in ("identities", "tracklets", "boxes")
    }
    return crops_of_embeddings(
        Embeddings(
            embeddings=crops.embeddings[order], paths=np.array(crops.paths)[order], cameras=crops.cameras[order],
            modalities=crops.modalities[order], times=crops.times[order], frames=crops.frames[order], fingerprint=crops.model,
            about={}, **columns,
        )
    )  # fmt: skip


@st.composite
def scenes(draw):
    """Few crops in a small space, so that chains are common: some in tracklets, some in pictures that show several."""
    count = draw(st.integers(1, 24))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, draw(st.integers(2, 5))))
    films = rng.integers(0, 8, count)
    tracklets = [f"t{film}" if film < draw(st.just(4)) else None for film in films.tolist()]
    pictures = rng.integers(0, draw(st.integers(1, 8)), count)
    paths, boxes, seen = [], [], set()
    for row, picture in enumerate(pictures.tolist()):
        alone = (picture, tracklets[row]) in seen or rng.random() < 0.4  # a tracklet is in a picture once
        paths.append(f"{row}.jpg" if alone else f"film/{picture}.jpg")
        boxes.append(None if alone else (10 * row, 0, 10 * row + 8, 16))
        if not alone and tracklets[row] is not None:
            seen.add((picture, tracklets[row]))
    ids = [path if box is None else f"{path}#xywh={box[0]},0,8,16" for path, box in zip(paths, boxes, strict=True)]
    order = np.array(sorted(range(count), key=ids.__getitem__))

    def taken(values):
        return [values[row] for row in order]

    return crops_of(
        rows[order], ids=taken(ids), paths=taken(paths), boxes=taken(boxes), tracklets=taken(tracklets),
        cameras=np.ones(count, np.int64), modalities=(films % 3 == 0)[order].astype(np.int64),
    )  # fmt: skip


def shows_two_in_one(crops: Crops, labels):
    return [
        (one, other)
        for one in range(len(crops))
        for other in range(one)
        if crops.paths[one] == crops.paths[other]
        and crops.boxes[one] != crops.boxes[other]
        and labels[one] == labels[other]
    ]


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
@settings(max_examples=40)
@given(crops=scenes(), threshold=st.sampled_from([-0.5, 0.0, 0.6, 0.9]))
def test_one_tracklet_is_one_and_one_frame_shows_different_ones(options, crops, threshold):
    labels = found(crops, options, threshold).labels
    assert shows_two_in_one(crops, labels) == []
    for name in {name for name in crops.tracklets if name is not None}:
        assert len({labels[row] for row, own in enumerate(crops.tracklets) if own == name}) == 1
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))
    sizes = np.bincount(labels)
    assert all(one >= other for one, other in pairwise(sizes.tolist()))


@pytest.mark.parametrize("options", WAYS, ids=NAMES)
@settings(max_examples=15)
@given(crops=scenes(), seed=st.integers(0, 100))
def test_the_order_of_rows_means_nothing(options, crops, seed):
    again = shuffled(crops, seed)
    assert again.ids == crops.ids
    assert np.array_equal(found(crops, options, 0.3).labels, found(again, options, 0.3).labels)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), threshold=st.floats(-0.9, 0.95))
def test_components_without_constraints_are_those_of_scipy(seed, count, threshold):
    crops = crops_of(np.random.default_rng(seed).standard_normal((count, 3)))
    cosines = crops.embeddings @ crops.embeddings.T
    if (np.abs(cosines - threshold) < 1e-5).any():
        return
    expected = connected_components(cosines >= threshold, directed=False)[1]
    assert same_partition(found(crops, ClusterOptions(), threshold).labels, expected)


@pytest.mark.parametrize("name", ["average", "complete"])
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 30), threshold=st.floats(-0.5, 0.9))
def test_agglomerative_without_constraints_is_that_of_scipy_over_all_crops(name, seed, count, threshold):
    """Though it is made component by component."""
    crops = crops_of(np.random.default_rng(seed).standard_normal((count, 4)))
    distances = 1 - (crops.embeddings @ crops.embeddings.T).astype(np.float64)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), name)
    if (np.abs(tree[:, 2] - (1 - threshold)) < 1e-5).any():
        return
    expected = fcluster(tree, 1 - threshold, "distance")
    labels = found(crops, ClusterOptions(method="agglomerative", linkage=name), threshold).labels
    assert same_partition(labels, expected)


def test_hdbscan_without_constraints_is_that_of_scikit_learn_and_noise_is_single():
    rows, _ = people(6, 9, noise=0.8)
    crops = crops_of(np.concatenate([rows, np.random.default_rng(3).standard_normal((8, 16))]))
    options = ClusterOptions(method="hdbscan", min_cluster=4)
    got = found(crops, options)
    expected = HDBSCAN(min_cluster_size=4, copy=True).fit_predict(crops.embeddings)
    noise = expected < 0
    assert noise.any()
    assert got.noise == noise.sum()
    assert same_partition(got.labels[~noise], expected[~noise])
    assert (np.bincount(got.labels)[got.labels[noise]] == 1).all()


def test_hdbscan_of_many_by_their_nearest_agrees_with_that_of_all(monkeypatch):
    rows, who = people(12, 20, noise=0.5)
    crops = crops_of(rows)
    whole = found(crops, ClusterOptions(method="hdbscan", min_cluster=5)).labels
    monkeypatch.setattr("crossreid.clustering.density.DENSE", 100)
    sparse = found(crops, ClusterOptions(method="hdbscan", min_cluster=5)).labels
    assert same_partition(whole, sparse)
    assert same_partition(whole, who)


def test_a_chain_cannot_join_what_one_frame_shows_as_two():
    """0 and 4 are in one picture; between them a chain of look-alikes, of which the weakest link, 2 - 3, gives way."""
    angles = np.radians([0, 10, 20, 32, 42])
    crops = crops_of(
        np.stack([np.cos(angles), np.sin(angles)], 1), paths=["film.jpg", "1.jpg", "2.jpg", "3.jpg", "film.jpg"],
        boxes=[(0, 0, 8, 16), None, None, None, (30, 0, 38, 16)],
    )  # fmt: skip
    chained = found(crops, ClusterOptions(frames=False), 0.97)
    assert chained.labels.tolist() == [0] * 5
    kept = found(crops, ClusterOptions(), 0.97)
    assert kept.labels.tolist() == [0, 0, 0, 1, 1]
    assert (kept.refused, len(kept.nodes.apart)) == (1, 1)


def test_frames_are_of_one_camera_and_time_and_alone_say_nothing():
    rows = np.ones((4, 3))
    apart = {"cameras": [2, 2, 2, 3], "frames": [7, 7, 7, 7], "times": [5.0, 5.0, 6.0, 5.0]}
    assert found(crops_of(rows, **apart), ClusterOptions()).labels.tolist() == [0, 1, 0, 0]
    untimed = apart | {"times": [np.nan] * 4}
    assert found(crops_of(rows, **untimed), ClusterOptions()).labels.tolist() == [0] * 4


def test_a_tracklet_in_one_picture_twice_is_refused_by_name():
    crops = crops_of(
        np.eye(2), ids=["a#1", "a#2"], paths=["a", "a"], boxes=[(0, 0, 2, 2), (4, 0, 6, 2)], tracklets=["t", "t"],
        cameras=[1, 1],
    )  # fmt: skip
    with pytest.raises(CrossreidError, match=r"a#1 and a#2 are of the tracklet 't'.*--no-tracklets or --no-frames"):
        found(crops, ClusterOptions())
    assert found(crops, ClusterOptions(tracklets=False)).labels.tolist() == [0, 1]
    assert found(crops, ClusterOptions(frames=False)).labels.tolist() == [0, 0]


def test_each_pair_of_modalities_has_its_threshold():
    """Two people by day and by night: across modalities they are less alike than two people by day are."""
    from crossreid.clustering.thresholds import pairs_of, stated, thresholds_of

    rows = np.array([[1, 0, 0, 0], [0.98, 0.2, 0, 0], [0.3, 0, 0.95, 0], [0, 1, 0, 0]])
    crops = crops_of(rows, modalities=[0, 0, 1, 0])
    by_pair = thresholds_of(pairs_of(crops.modalities), stated(["0.9", "infrared-visible=0.29"]))
    assert by_pair.to_json() == {"visible-visible": 0.9, "visible-infrared": 0.29, "infrared-infrared": 0.9}
    for options in (ClusterOptions(), ClusterOptions(nearest=3), ClusterOptions(method="agglomerative")):
        assert cluster_crops(crops, by_pair, options).labels.tolist() == [0, 0, 0, 1]
        assert found(crops, options, 0.9).labels.tolist() == [0, 0, 1, 2]


def test_large_components_are_clustered_along_their_links_and_still_keep_apart(monkeypatch):
    rows, who = people(5, 30, noise=0.9)
    paths = [f"film/{number % 30}.jpg" for number in range(150)]
    boxes = [(10 * int(person), 0, 10 * int(person) + 8, 9) for person in who]
    crops = crops_of(rows, paths=paths, boxes=boxes)
    monkeypatch.setattr(linkage_of_crops, "DENSE", 20)
    got = found(crops, ClusterOptions(method="agglomerative"), 0.3)
    assert shows_two_in_one(crops, got.labels) == []
    assert same_partition(got.labels, who)
    chained = found(crops, ClusterOptions(method="agglomerative", linkage="complete"), -0.9)
    assert shows_two_in_one(crops, chained.labels) == []


def test_nearest_found_by_lists_make_the_clusters_that_comparing_with_all_makes(monkeypatch):
    rows, who = people(150, 20, dimension=64, noise=0.5)
    crops, options = crops_of(rows), ClusterOptions(nearest=19)
    exact = found(crops, options, 0.65)
    monkeypatch.setattr(neighbours, "EXACT", 100)
    by_lists = found(crops, options, 0.65)
    assert 0.98 * exact.links < by_lists.links <= exact.links
    assert same_partition(by_lists.labels, exact.labels)
    assert same_partition(exact.labels, who)


def test_only_mutual_neighbours_are_linked():
    """The hub 0 is the nearest of all others, and its own nearest is 1."""
    angles = np.radians([5, 10, 20, 30])
    spokes = np.zeros((4, 5))
    spokes[:, 0], spokes[range(4), range(1, 5)] = np.cos(angles), np.sin(angles)
    got = found(crops_of(np.concatenate([np.eye(5)[:1], spokes])), ClusterOptions(nearest=1), 0.5)
    assert (got.links, got.nearest, got.labels.tolist()) == (1, 1, [0, 0, 1, 2, 3])


def test_complete_linkage_knows_from_the_beginning_what_must_stay_apart():
    """Were 0 and 1 joined first and parted afterwards, 2 would be left alone: it is too far from 1."""
    angles = np.radians([0, 26, -37])
    crops = crops_of(
        np.stack([np.cos(angles), np.sin(angles)], 1), paths=["film.jpg", "film.jpg", "2.jpg"],
        boxes=[(0, 0, 8, 9), (9, 0, 17, 9), None],
    )  # fmt: skip
    assert found(crops, ClusterOptions(method="agglomerative", linkage="complete"), 0.5).labels.tolist() == [0, 1, 0]


def test_more_pairs_than_are_held_is_an_error_that_names_the_way_out(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 10)
    with pytest.raises(CrossreidError, match=r"more than 10 pairs.*--nearest"):
        found(crops_of(np.ones((6, 3))), ClusterOptions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "kmeans"}, "components, agglomerative, hdbscan"), ({"linkage": "ward"}, "average or complete"),
        ({"nearest": -1}, "--nearest -1"), ({"min_cluster": 1}, "--min-cluster 1"), ({"min_samples": 0}, "--min-samples 0"),
    ],
)  # fmt: skip
def test_options_that_are_none_are_named(options, words):
    with pytest.raises(CrossreidError, match=words):
        ClusterOptions(**options)


def test_thresholds_and_methods_must_fit():
    crops = crops_of(np.eye(3))
    with pytest.raises(CrossreidError, match="takes no threshold"):
        cluster_crops(crops, at(0.5, crops), ClusterOptions(method="hdbscan"))
    with pytest.raises(CrossreidError, match="needs a threshold"):
        cluster_crops(crops)


@pytest.mark.parametrize("options", [option for option in WAYS if option.method != "hdbscan"], ids=NAMES[:4])
def test_tracklets_are_joined_by_their_own_thresholds(options):
    """Cosines of 0.8 throughout: enough for two tracklets, not for a tracklet and a crop, nor for two crops."""
    rows = np.sqrt(0.2) * np.eye(8)[[0, 0, 1, 1, 2, 3]] + np.sqrt(0.8) * np.eye(8)[7]
    crops = crops_of(rows, tracklets=["a", "a", "b", "b", None, None], cameras=[1, 1, 2, 2, 3, 4])
    by_kind = replace(at(0.9, crops), of_sets={"sets": at(0.7, crops).cosines, "set-image": at(0.85, crops).cosines})
    assert cluster_crops(crops, by_kind, options).labels.tolist() == [0, 0, 0, 0, 1, 2]
    assert cluster_crops(crops, at(0.9, crops), options).labels.tolist() == [0, 0, 1, 1, 2, 3]
    lower = replace(by_kind, of_sets={**by_kind.of_sets, "set-image": at(0.75, crops).cosines})
    assert cluster_crops(crops, lower, options).sizes.tolist() != [4, 1, 1]
