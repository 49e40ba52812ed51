"""The compiled counting and the one of other devices, against each other and against sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA, same_camera_within
from crossreid.evaluation.ranking import Ranker, rank_distances

NAMES = ("first", "average_precision", "inverse_penalty", "matches", "kept")


def gallery_of(distances, ids, cameras, frames, **rules):
    return Ranker.of(*distances.shape, torch.device("cpu"), *ids, *cameras, *frames, **rules)


def assert_alike(one, other):
    for name in NAMES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-13, err_msg=name)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 4, 40, 700]),
    st.sampled_from([3, 1000, 10**9]),
    st.sampled_from(["every image", "first image of each identity"]),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)
def test_both_ways_of_counting_agree(seed, people, levels, counting, frames, dtype):
    """From one match to more than are compared one by one, over several chunks, with many ties and with none."""
    rng = np.random.default_rng(seed)
    distances = (rng.integers(0, levels, (6, 1400)) - levels // 3).astype(dtype)
    ids = rng.integers(0, people, 6), rng.integers(0, people, 1400)
    cameras, at = (rng.integers(0, 3, 6), rng.integers(0, 3, 1400)), (rng.integers(0, 20, 6), rng.integers(0, 20, 1400))
    rule = same_camera_within(3) if frames else SAME_IDENTITY_AND_CAMERA
    junk = rng.random((6, 1400)) < rng.choice([0.0, 0.3])
    gallery = gallery_of(distances, ids, cameras, at, exclusion=rule, junk=junk, counting=counting)
    tensor = torch.from_numpy(distances)
    assert_alike(gallery.rank(slice(0, 6), tensor), gallery._rank_counted(slice(0, 6), tensor))


@pytest.mark.parametrize("matches", [1, 3, 4, 5, 17, 255, 256, 257, 900])
@pytest.mark.parametrize("shape", ["even", "crowded", "two values", "one value", "wide"])
def test_ranks_are_those_of_a_stable_sort(matches, shape):
    rng = np.random.default_rng(matches)
    entries = 2100
    row = {
        "even": rng.random(entries),
        "crowded": 1 + 1e-6 * rng.random(entries),  # a few float32 steps hold everything
        "two values": rng.integers(0, 2, entries),
        "one value": np.ones(entries),
        "wide": np.exp(rng.uniform(-80, 80, entries)),
    }[shape].astype(np.float32)
    ids = np.zeros(entries, int)
    ids[rng.choice(entries, matches, replace=False)] = 1
    found = rank_distances(row[None], np.array([1]), ids)
    hits = ids[np.argsort(row, kind="stable")] == 1
    ranks = np.flatnonzero(hits) + 1
    assert found.first[0] == ranks[0]
    assert found.inverse_penalty[0] == matches / ranks[-1]
    assert found.average_precision[0] == pytest.approx(np.mean(np.arange(1, matches + 1) / ranks), abs=1e-13)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads):
    rng = np.random.default_rng(0)
    distances, ids = rng.random((37, 3000)).astype(np.float32), (rng.integers(0, 50, 37), rng.integers(0, 50, 3000))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = rank_distances(distances, *ids)
    finally:
        torch.set_num_threads(before)
    for row in (0, 18, 36):
        assert_alike_row(found, rank_distances(distances[row : row + 1], ids[0][row : row + 1], ids[1]), row)


def assert_alike_row(found, alone, row):
    for name in NAMES:
        assert getattr(found, name)[row] == getattr(alone, name)[0], name


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_distance_that_is_not_finite_is_named_by_its_own_row(bad):
    distances = np.ones((40, 3000), dtype=np.float32)
    distances[33, 2999] = bad
    with pytest.raises(ValueError, match="distance of query 33 to gallery entry 2999 is"):
        rank_distances(distances, np.zeros(40, int), np.zeros(3000, int))
