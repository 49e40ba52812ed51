"""Ranked lists against slow loops written from their definition."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.features import Features, positions_of
from crossreid.reporting.ranked_lists import ranked_lists


def features_from(rows):
    """Rows of (identity, camera, modality, role, vector), put into identity and camera order."""
    rows = sorted(rows, key=lambda row: (row[0], row[1]))
    return Features(
        embeddings=np.array([row[4] for row in rows], dtype=np.float64),
        identities=np.array([row[0] for row in rows]),
        cameras=np.array([row[1] for row in rows]),
        modalities=np.array([int(row[2]) for row in rows]),
        positions=positions_of([(row[0], row[1]) for row in rows]),
        names=np.array([f"{number}.png" for number in range(len(rows))]),
        roles=np.array([row[3] for row in rows]),
    )


def picture(name):
    """A flat colour that tells the row, so that a thumbnail can be traced to it."""
    return np.full((64, 32, 3), int(name.removesuffix(".png")) * 4 % 256, dtype=np.uint8)


def row_of(thumbnail):
    level = float(np.asarray(Image.open(io.BytesIO(thumbnail.jpeg)), dtype=np.float64).mean())
    return round(level / 4)


# Coordinates on a coarse grid, so that distances are exact and often tied.
images_of_people = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.sampled_from([VISIBLE, INFRARED]),
        st.sampled_from(["query", "gallery", "both"]),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
    min_size=2,
    max_size=24,
)


def expected(features, depth):
    """(row, rows of the list, place of the first match, matches, kept, AP) of each query with a match, by slow loops."""
    both = [r for r in range(len(features)) if features.roles[r] == "both"]
    mixed = len({int(features.modalities[r]) for r in both}) == 2

    def asks(r):
        return features.roles[r] == "query" or (r in both and (not mixed or features.modalities[r] == INFRARED))

    def answers(r):
        return features.roles[r] == "gallery" or (r in both and (not mixed or features.modalities[r] == VISIBLE))

    found = []
    for q in filter(asks, range(len(features))):
        kept = []
        for g in filter(answers, range(len(features))):
            same = features.identities[q] == features.identities[g]
            if g == q or (same and features.cameras[q] == features.cameras[g] and features.cameras[q] > 0):
                continue
            gap = features.embeddings[q] - features.embeddings[g]
            kept.append((float(gap @ gap), g))
        kept.sort()
        hits = [place for place, (_, g) in enumerate(kept, start=1) if features.identities[g] == features.identities[q]]
        if hits:
            precision = sum(number / place for number, place in enumerate(hits, start=1)) / len(hits)
            found.append((q, [g for _, g in kept[:depth]], hits[0], len(hits), len(kept), precision))
    return found


@given(images_of_people, st.integers(1, 4), st.integers(1, 8))
@settings(max_examples=80)
def test_lists_follow_their_definition(rows, queries, depth):
    features = features_from(rows)
    truth = sorted(expected(features, depth), key=lambda item: (item[2], -round(item[5], 12), item[0]))
    if not truth:
        with pytest.raises(DataError, match=r"empty|no ranked list"):
            ranked_lists(features, picture, queries=queries, depth=depth)
        return
    lists = ranked_lists(features, picture, queries=queries, depth=depth)
    count = min(queries, len(truth))
    assert len(lists) == count
    for part, item in enumerate(lists):
        low, high = part * len(truth) / count, (part + 1) * len(truth) / count
        assert low < item.place <= math.ceil(high)
        row, near, first, matches, kept, _ = truth[item.place - 1]
        assert (item.row, item.first_right, item.matches, item.kept) == (row, first, matches, kept)
        assert row_of(item.query) == row
        assert [row_of(hit.thumbnail) for hit in item.hits] == near
        for hit, g in zip(item.hits, near, strict=True):
            assert hit.right == (features.identities[g] == features.identities[row])
            assert hit.distance == pytest.approx(np.linalg.norm(features.embeddings[row] - features.embeddings[g]))


def small_world(seed=0, identities=8, images=3):
    """People seen by SYSU-MM01's six cameras."""
    generator = np.random.default_rng(seed)
    rows = []
    for identity in range(identities):
        for camera in range(1, 7):
            light = INFRARED if camera in (3, 6) else VISIBLE
            role = "query" if light == INFRARED else "gallery"
            rows += [(f"{identity:02d}", camera, light, role, generator.normal(size=4)) for _ in range(images)]
    return features_from(rows)


def test_sysu_draws_one_image_a_camera_and_skips_the_same_place():
    features = small_world()
    lists = ranked_lists(features, lambda name: np.zeros((8, 4, 3), np.uint8), protocol="sysu-mm01", depth=100)
    assert len(lists) == 6
    for item in lists:
        assert item.query.modality == INFRARED
        seen = [(hit.thumbnail.identity, hit.thumbnail.camera) for hit in item.hits]
        cameras = {1, 4, 5} if item.query.camera == 3 else {1, 2, 4, 5}
        assert sorted(seen) == sorted((f"{i:02d}", c) for i in range(8) for c in cameras)
        assert [hit.distance for hit in item.hits] == sorted(hit.distance for hit in item.hits)
    assert "one image per identity and camera" in lists[0].gallery


def test_queries_go_from_easy_to_hard_and_another_method_can_show_the_same():
    features, other = small_world(0), small_world(1)
    blank = np.zeros((8, 4, 3), np.uint8)
    lists = ranked_lists(features, lambda name: blank, protocol="sysu-mm01")
    assert [item.first_right for item in lists] == sorted(item.first_right for item in lists)
    assert [item.place for item in lists] == [5, 13, 21, 29, 37, 45]
    again = ranked_lists(other, lambda name: blank, protocol="sysu-mm01", like=lists)
    assert [item.row for item in again] == [item.row for item in lists]
    assert [item.place for item in again] != [item.place for item in lists]


def test_thumbnails_are_small_and_keep_their_shape():
    features = small_world(identities=2, images=1)
    large = np.random.default_rng(0).integers(0, 256, (800, 400, 3), dtype=np.uint8)
    (item,) = ranked_lists(features, lambda name: large, queries=1, depth=1)
    assert (item.query.width, item.query.height) == (80, 160)
    assert Image.open(io.BytesIO(item.query.jpeg)).size == (80, 160)


def test_what_does_not_fit_is_refused_by_name():
    features = small_world(identities=2, images=1)
    with pytest.raises(ValueError, match=r"unknown protocol 'market'.*sysu-mm01"):
        ranked_lists(features, picture, protocol="market")
    with pytest.raises(ValueError, match="at least 1 query"):
        ranked_lists(features, picture, queries=0)
    nameless = Features(
        features.embeddings, features.identities, features.cameras, features.modalities, features.positions,
        np.full(len(features), ""), features.roles,
    )  # fmt: skip
    with pytest.raises(DataError, match="12 of the features have no file name"):
        ranked_lists(nameless, picture)
    with pytest.raises(DataError, match="gallery is empty"):
        ranked_lists(features.take(features.roles == "query"), picture, protocol="sysu-mm01")
