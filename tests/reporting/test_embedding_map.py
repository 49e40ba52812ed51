"""Maps: which images they show, that they are repeatable, and that they show what is there."""

from xml.etree import ElementTree

import numpy as np
import pytest

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.evaluation.features import Features
from crossreid.reporting.embedding_map import Map, gap, map_chart, map_embeddings, rows_to_map


def world(identities=14, images=6, signal=8.0, apart=0.0, seed=0, names=None):
    """Visible and infrared images of identities, `signal` apart by identity and `apart` by modality."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(identities), 2 * images)
    light = np.tile(np.repeat([int(VISIBLE), int(INFRARED)], images), identities)
    centres = signal * generator.normal(size=(identities, 16))
    embeddings = centres[owner] + generator.normal(size=(len(owner), 16))
    embeddings[:, 0] += apart * light
    return Features(
        embeddings,
        np.array(names or [str(i) for i in range(identities)])[owner],
        np.zeros(len(owner), np.int64),
        light,
        np.arange(len(owner)),
        np.full(len(owner), ""),
        np.full(len(owner), "both"),
    )


def test_rows_are_of_few_identities_in_both_modalities_and_do_not_depend_on_embeddings():
    features = world()
    rows = rows_to_map(features, identities=5, images=4, seed=3)
    counts = {}
    for row in rows:
        key = (features.identities[row], int(features.modalities[row]))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 10
    assert set(counts.values()) == {4}
    assert len({name for name, _ in counts}) == 5
    assert (rows == rows_to_map(world(seed=9), identities=5, images=4, seed=3)).all()
    assert set(rows.tolist()) != set(rows_to_map(features, identities=5, images=4, seed=4).tolist())


def test_identities_of_one_modality_are_left_out_unless_there_are_no_others():
    features = world(identities=4)
    lonely = features.take((features.identities != "2") | (features.modalities == VISIBLE))
    assert set(lonely.identities[rows_to_map(lonely)].tolist()) == {"0", "1", "3"}
    visible = features.take(features.modalities == VISIBLE)
    assert set(visible.identities[rows_to_map(visible)].tolist()) == {"0", "1", "2", "3"}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_clusters_stay_together_and_the_map_is_repeatable(metric):
    features = world(identities=4, images=6)
    mapped = map_embeddings(features, metric=metric)
    assert mapped.points.min() == 0
    assert mapped.points.max() == 1
    gaps = np.linalg.norm(mapped.points[:, None] - mapped.points, axis=2) + 9 * np.eye(len(features))
    assert (mapped.identity[gaps.argmin(axis=1)] == mapped.identity).all()
    assert (mapped.points == map_embeddings(features, metric=metric).points).all()


def test_modalities_far_apart_show_as_longer_lines():
    close = map_embeddings(world(identities=4, signal=3.0))
    far = map_embeddings(world(identities=4, signal=3.0, apart=60.0))
    assert gap(far) > 2 * gap(close)


def test_gap_is_the_mean_distance_of_centres():
    points = np.array([[0, 0], [0, 0.2], [0.3, 0.5], [0.9, 0.9], [0.5, 0.6]])
    mapped = Map(points, np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1]), ("a", "b"))
    assert gap(mapped) == pytest.approx((0.5 + 0.5) / 2)
    alone = Map(points[:1], np.array([0]), np.array([0]), ("a",))
    assert gap(alone) == 0


def test_chart_marks_each_image_once_in_its_colour():
    features = world(identities=3, images=5)
    chart = map_chart(map_embeddings(features), "raw <pixels>", "m1")
    svg = "{http://www.w3.org/2000/svg}"
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    root = ElementTree.fromstring(f"<g {spaces}>{chart}</g>")
    groups = [group for group in root.iter(f"{svg}g") if "PathCollection" in group.get("id", "")]
    assert len(groups) == 6
    for number, group in enumerate(groups):
        for definitions in group.findall(f"{svg}defs"):
            group.remove(definitions)
        styles = [mark.get("style") for mark in group.iter() if mark.tag in (f"{svg}use", f"{svg}path")]
        shade = f"var(--s{number // 2 + 1})"
        assert len(styles) == 5
        wanted = (f"fill: {shade}; stroke: var(--ground)", f"fill: none; stroke: {shade}")[number % 2]
        assert all(style.startswith(wanted) for style in styles)
    assert "raw &lt;pixels&gt;" in chart
    assert "30 images of 3 identities" in chart


def test_images_that_are_all_alike_can_be_mapped():
    features = world(identities=2)
    alike = Features(
        np.ones_like(features.embeddings), features.identities, features.cameras, features.modalities,
        features.positions, features.names, features.roles,
    )  # fmt: skip
    assert np.isfinite(map_embeddings(alike).points).all()


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="at least 8 images to map, found 4"):
        map_embeddings(world(identities=1, images=2))
