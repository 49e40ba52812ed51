"""Each protocol against a slow loop written from its definition, and the official lists."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from scipy.spatial.distance import cdist

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import Permutations, load_permutations
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.ranking import rank_distances
from crossreid.evaluation.reranking import reranked_blocks
from crossreid.evaluation.reranking_options import KReciprocal
from crossreid.evaluation.scores import KEYS, combine

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "protocols"
needs_sysu = pytest.mark.skipif(not (SHARED / "SYSU-MM01").is_dir(), reason="the official SYSU-MM01 lists are not here")
needs_regdb = pytest.mark.skipif(not (SHARED / "RegDB").is_dir(), reason="the official RegDB lists are not here")
VISIBLE, INFRARED = 0, 1


def make(images, dimensions=8, seed=0, signal=0.7, dtype=np.float64):
    """Features of (identity, camera, modality, role) tuples, in their order, that carry some identity."""
    rng = np.random.default_rng(seed)
    names = sorted({image[0] for image in images})
    centres = dict(zip(names, rng.normal(size=(len(names), dimensions)), strict=True))
    noise = rng.normal(size=(len(images), dimensions))
    return Features(
        np.array([signal * centres[i[0]] for i in images] + noise).astype(dtype),
        np.array([i[0] for i in images]),
        np.array([i[1] for i in images]),
        np.array([i[2] for i in images]),
        positions_of([(i[0], i[1]) for i in images]),
        np.array([f"{row}.jpg" for row in range(len(images))]),
        np.array([i[3] for i in images]),
    )


def loop(features, query, gallery, skip, first_only, metric="euclidean"):
    """Rank-k for k = 1, 5, 10, 20, mAP, mINP, valid, skipped, expected chance rank-1, from the definitions."""
    curve, precisions, penalties, chances, skipped = np.zeros(len(gallery)), [], [], [], 0
    distances = cdist(features.embeddings[query], features.embeddings[gallery], metric)
    for q, row in zip(query, distances, strict=True):
        kept = [(d, place) for place, (d, g) in enumerate(zip(row, gallery, strict=True)) if not skip(features, q, g)]
        names = [features.identities[gallery[place]] for _, place in sorted(kept)]
        own = features.identities[q]
        ranks = [rank for rank, name in enumerate(names, start=1) if name == own]
        if not ranks:
            skipped += 1
            continue
        walk = list(dict.fromkeys(names)) if first_only else names
        curve[walk.index(own) :] += 1
        precisions.append(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)]))
        penalties.append(len(ranks) / ranks[-1])
        chances.append(len(ranks) / len(names))
    valid = len(precisions)
    at = [curve[min(k, len(curve)) - 1] / valid for k in (1, 5, 10, 20)]
    return [*at, np.mean(precisions), np.mean(penalties), valid, skipped, np.mean(chances)]


def figures(trial):
    return [*(trial.value(key) for key in KEYS), trial.valid_queries, trial.skipped_queries, trial.chance_rank1]


def sysu_skip(features, q, g):
    return features.cameras[q] == 3 and features.cameras[g] == 2


def sysu_gallery(features, order_of, cameras, shots):
    """Cameras ascending, identities ascending, then the permutation's order."""
    rows = []
    for camera in cameras:
        for identity in sorted(set(features.identities), key=int):
            group = np.flatnonzero((features.identities == identity) & (features.cameras == camera))
            rows += [group[place] for place in order_of(camera, identity, len(group))[:shots]]
    return rows


def small_sysu(seed=0, people=12):
    rng = np.random.default_rng(seed)
    images, orders = [], {}
    for person in range(1, people + 1):
        for camera in range(1, 7):
            count = int(rng.choice([0, 3, 14]))
            modality = INFRARED if camera in (3, 6) else VISIBLE
            images += [(str(person), camera, modality, "query" if modality else "gallery")] * count
            if count:
                orders[camera, person] = np.array([rng.permutation(count) + 1 for _ in range(10)])
    return make(images, seed=seed), Permutations(orders)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sysu_equals_the_loop_in_all_settings_and_trials(metric):
    features, permutations = small_sysu()
    query = np.flatnonzero(np.isin(features.cameras, (3, 6)))
    scores = evaluate(features, "sysu-mm01", metric=metric, permutations=permutations)
    assert [s.setting for s in scores] == [
        "all, single-shot", "all, multi-shot", "indoor, single-shot", "indoor, multi-shot",
    ]  # fmt: skip
    for score in scores:
        cameras = (1, 2, 4, 5) if score.setting.startswith("all") else (1, 2)
        assert (score.gallery_draw, len(score.trials)) == ("official permutations", 10)
        for number, trial in enumerate(score.trials):

            def order_of(camera, identity, count, number=number):
                return permutations.orders[camera, int(identity)][number] - 1 if count else []

            gallery = sysu_gallery(features, order_of, cameras, 1 if "single" in score.setting else 10)
            expected = loop(features, query, gallery, sysu_skip, True, metric)
            np.testing.assert_allclose(figures(trial), expected, rtol=0, atol=1e-12)
        assert score.skipped_queries > 0 or score.setting.startswith("all")


@needs_sysu
@pytest.mark.parametrize("setting", ["all, single-shot", "all, multi-shot", "indoor, single-shot"])
def test_sysu_on_the_official_lists(setting):
    folder = SHARED / "SYSU-MM01"
    identities = loadmat(folder / "test_id.mat")["id"].ravel().tolist()
    cells = loadmat(folder / "rand_perm_cam.mat")["rand_perm_cam"]

    def permutation(camera, identity):
        cell = cells[camera - 1, 0]
        return cell[int(identity) - 1, 0] if int(identity) <= len(cell) else np.empty((10, 0))

    images = []
    for identity in identities:
        for camera in range(1, 7):
            modality = INFRARED if camera in (3, 6) else VISIBLE
            count = permutation(camera, identity).shape[1]
            images += [(str(identity), camera, modality, "query" if modality else "gallery")] * count
    features = make(images, dimensions=12, dtype=np.float32)
    query = np.flatnonzero(features.modalities == INFRARED)
    assert len(query) == 3803
    permutations = load_permutations(folder / "rand_perm_cam.mat")
    score = evaluate(features, "sysu-mm01", permutations=permutations, settings=[setting])[0]
    assert score.valid_queries + score.skipped_queries == 3803
    assert score.skipped_queries == (0 if setting.startswith("all") else 3803 - 2208)

    # The loop follows some queries of trial 7; the fast path is asked about the same ones.
    some = query[:: 97 if "multi" in setting else 19]
    rest = np.flatnonzero(features.modalities == VISIBLE)
    subset = features.take(np.sort(np.concatenate([some, rest])))
    only_gallery = Permutations({key: order for key, order in permutations.orders.items() if key[0] not in (3, 6)})
    trial = evaluate(subset, "sysu-mm01", permutations=only_gallery, settings=[setting])[0].trials[6]
    gallery = [
        np.flatnonzero((features.identities == str(i)) & (features.cameras == camera))[place - 1]
        for camera in ((1, 2, 4, 5) if setting.startswith("all") else (1, 2))
        for i in identities
        for place in permutation(camera, i)[6, : 1 if "single" in setting else 10].astype(int)
    ]
    np.testing.assert_allclose(figures(trial), loop(features, some, gallery, sysu_skip, True), rtol=0, atol=1e-12)


@needs_sysu
def test_sysu_validation_identities_have_permutations_too():
    permutations = load_permutations(SHARED / "SYSU-MM01" / "rand_perm_cam.mat")
    identities = loadmat(SHARED / "SYSU-MM01" / "val_id.mat")["id"].ravel().tolist()
    images = [
        (str(identity), camera, INFRARED if camera in (3, 6) else VISIBLE, "both")
        for identity in identities[:15]
        for camera in range(1, 7)
        if (camera, identity) in permutations.orders
        for _ in range(permutations.orders[camera, identity].shape[1])
    ]
    # These identities were not seen indoors, so there is nothing to search there.
    scores = evaluate(
        make(images), "sysu-mm01", permutations=permutations, settings=["all, single-shot", "all, multi-shot"]
    )
    assert len(scores) == 2
    assert all(0 < score.rank(1) <= 1 for score in scores)


def test_sysu_images_that_the_permutation_does_not_know_are_refused():
    features, permutations = small_sysu()
    row = int(np.flatnonzero(features.cameras == 4)[-1])
    fewer = features.take(np.delete(np.arange(len(features)), row))
    count = int(((fewer.identities == features.identities[row]) & (fewer.cameras == 4)).sum())
    message = f"camera 4, identity {features.identities[row]} is for {count + 1} images, but there are {count}"
    with pytest.raises(DataError, match=message):
        evaluate(fewer, "sysu-mm01", permutations=permutations)
    assert len(evaluate(fewer, "sysu-mm01", permutations=permutations, draw="seeded")) == 4
    assert len(evaluate(fewer, "sysu-mm01", permutations=permutations, settings=["indoor, single-shot"])) == 1


def test_sysu_other_draws_are_named_and_repeatable():
    features, permutations = small_sysu()
    seeded = evaluate(features, "sysu-mm01", seed=3)
    assert {score.gallery_draw for score in seeded} == {"seeded draw (seed 3)"}
    assert [s.to_json() for s in seeded] == [s.to_json() for s in evaluate(features, "sysu-mm01", seed=3)]
    assert [s.mAP for s in seeded] != [s.mAP for s in evaluate(features, "sysu-mm01", seed=4)]
    query = np.flatnonzero(np.isin(features.cameras, (3, 6)))
    public = evaluate(features, "sysu-mm01", permutations=permutations, draw="random-choice", trials=3)[0]
    assert public.gallery_draw == "random.choice after random.seed(trial)"
    for number, trial in enumerate(public.trials):
        random.seed(number)
        gallery = []
        for identity in sorted(set(features.identities), key=int):
            for camera in (1, 2, 4, 5):
                group = np.flatnonzero((features.identities == identity) & (features.cameras == camera)).tolist()
                if group:
                    gallery.append(random.choice(group))
        expected = loop(features, query, gallery, sysu_skip, True)
        np.testing.assert_allclose(figures(trial), expected, rtol=0, atol=1e-12)


def test_llcm_equals_the_loop():
    rng = np.random.default_rng(2)
    images = [
        (f"{person:04d}", camera, modality, "both")
        for person in (3, 20, 100, 7, 1001)
        for camera in (1, 2, 3)
        for modality in (VISIBLE, INFRARED)
        if not (camera == 3 and modality == INFRARED)
        for _ in range(int(rng.integers(0, 5)))
    ]
    images.sort(key=lambda image: (int(image[0]), image[1]))
    features = make(images, seed=2, signal=0.4)

    def skip(f, q, g):
        return f.identities[q] == f.identities[g] and f.cameras[q] == f.cameras[g]

    scores = {score.setting: score for score in evaluate(features, "llcm")}
    for setting, asking in (("infrared to visible", INFRARED), ("visible to infrared", VISIBLE)):
        assert scores[setting].gallery_draw == "random.choice after random.seed(trial)"
        assert len(scores[setting].trials) == 10
        query = np.flatnonzero(features.modalities == asking)
        for number, trial in enumerate(scores[setting].trials):
            random.seed(number)
            gallery = []
            for identity in sorted(set(features.identities)):
                for camera in range(1, 10):
                    here = (features.identities == identity) & (features.cameras == camera)
                    group = np.flatnonzero(here & (features.modalities != asking)).tolist()
                    if group:
                        gallery.append(random.choice(group))
            np.testing.assert_allclose(figures(trial), loop(features, query, gallery, skip, True), rtol=0, atol=1e-12)


@needs_regdb
def test_regdb_on_the_official_lists_trial_by_trial():
    by_direction = {}
    for number in (1, 2, 10):
        images = []
        for modality, word in ((VISIBLE, "visible"), (INFRARED, "thermal")):
            lines = (SHARED / "RegDB" / f"test_{word}_{number}.txt").read_text().split("\n")
            labels = [line.split()[1] for line in lines if line.strip()]
            assert len(labels) == 2060
            images += [(label, 1 + modality, modality, "query" if modality else "gallery") for label in labels]
        images.sort(key=lambda image: (int(image[0]), image[1]))
        features = make(images, seed=number, signal=0.5)
        for score in evaluate(features, "regdb", trial=number):
            assert (score.valid_queries, score.skipped_queries, len(score.cmc)) == (2060, 0, 2060)
            assert score.chance_rank1 == pytest.approx(10 / 2060, abs=1e-15)
            by_direction.setdefault(score.setting, []).append(score)
        if number == 1:
            query = np.flatnonzero(features.modalities == VISIBLE)
            gallery = np.flatnonzero(features.modalities == INFRARED)
            few = features.take(np.sort(np.concatenate([query[::40], gallery])))
            got = figures(evaluate(few, "regdb", settings=["visible to thermal"])[0].trials[0])
            expected = loop(features, query[::40], gallery, lambda f, q, g: False, False)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert list(by_direction) == ["visible to thermal", "thermal to visible"]
    whole = combine(by_direction["visible to thermal"][::-1])
    assert [trial.trial for trial in whole.trials] == [1, 2, 10]
    assert whole.mAP == pytest.approx(np.mean([s.mAP for s in by_direction["visible to thermal"]]), abs=1e-15)


def test_cross_modal_by_role_then_by_modality_then_each_against_all_others():
    rng = np.random.default_rng(0)
    kinds = [(f"n{rng.integers(5)}", int(rng.integers(0, 3)), int(rng.integers(2))) for _ in range(60)]

    def skip(f, q, g):
        same = f.cameras[q] == f.cameras[g] and f.cameras[q] > 0
        return q == g or (same and f.identities[q] == f.identities[g])

    roles = [("query", "gallery")[i % 2] for i in range(60)]
    given = make([(*kind, role) for kind, role in zip(kinds, roles, strict=True)])
    mixed = make([(*kind, "both") for kind in kinds])
    alone = make([(name, camera, VISIBLE, "both") for name, camera, _ in kinds])
    every = np.arange(60)
    for features, query, gallery in (
        (given, every[::2], every[1::2]),
        (mixed, np.flatnonzero(mixed.modalities == INFRARED), np.flatnonzero(mixed.modalities == VISIBLE)),
        (alone, every, every),
    ):
        score = evaluate(features, "cross-modal")[0]
        assert score.gallery_draw == "every image"
        got = figures(score.trials[0])
        np.testing.assert_allclose(got, loop(features, query, gallery, skip, False), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "sysu"}, "unknown protocol 'sysu'; choose one of: 'sysu-mm01', 'regdb', 'llcm', "),
        ({"protocol": "sysu-mm01", "settings": ["outdoor"]}, "unknown setting 'outdoor'"),
        ({"protocol": "sysu-mm01", "metric": "l1"}, "unknown metric 'l1'"),
        ({"protocol": "sysu-mm01", "draw": "dice"}, "unknown gallery draw 'dice'"),
        ({"protocol": "sysu-mm01", "trials": 0}, "at least 1 trial"),
        ({"protocol": "regdb"}, "the query is empty; expected visible images|the gallery is empty"),
    ],
)
def test_refused_by_name(arguments, message):
    features = make([("1", 3, INFRARED, "query"), ("1", 6, INFRARED, "query")])
    with pytest.raises(ValueError, match=message):
        evaluate(features, **arguments)


def test_no_query_with_a_match_is_refused():
    with pytest.raises(DataError, match="none of the 1 queries has a match"):
        evaluate(make([("1", 1, INFRARED, "query"), ("2", 2, VISIBLE, "gallery")]), "cross-modal")


def tracklets(seed=0, doubled=True):
    """Images or tracklets of 9 identities by 4 cameras, with distractors and junk; queries are in the gallery too."""
    rng = np.random.default_rng(seed)
    images = []
    for person in ("-1", "0", *map(str, range(1, 10))):
        for camera in rng.choice([1, 2, 3, 4], rng.integers(1, 5), replace=False):
            for shot in range(rng.integers(1, 4)):
                asks = shot == 0 and person not in ("-1", "0")
                images.append((person, int(camera), VISIBLE, ("both" if doubled else "query") if asks else "gallery"))
    return make(images, seed=seed)


def by_trapezoids(features, query, gallery, skip):
    """mAP as the area under the precision-recall line, point by point."""
    areas = []
    distances = cdist(features.embeddings[query], features.embeddings[gallery])
    for q, row in zip(query, distances, strict=True):
        kept = [(d, place) for place, (d, g) in enumerate(zip(row, gallery, strict=True)) if not skip(features, q, g)]
        hits = [features.identities[gallery[place]] == features.identities[q] for _, place in sorted(kept)]
        if not any(hits):
            continue
        area, recall, precision, found = 0.0, 0.0, 1.0, 0
        for rank, hit in enumerate(hits, start=1):
            found += hit
            area += (found / sum(hits) - recall) * (found / rank + precision) / 2
            recall, precision = found / sum(hits), found / rank
        areas.append(area)
    return np.mean(areas)


@pytest.mark.parametrize(
    ("protocol", "doubled", "trapezoid"),
    [("mars", True, True), ("duke-video", False, True), ("veri-776", False, True), ("market-1501", False, True)],
)
def test_same_identity_and_camera_protocols_equal_the_loop(protocol, doubled, trapezoid):
    features = tracklets(doubled=doubled)

    def skip(features, q, g):
        same = features.identities[q] == features.identities[g] and features.cameras[q] == features.cameras[g]
        return same or features.identities[g] == "-1"

    query = np.flatnonzero(np.isin(features.roles, ("query", "both")))
    gallery = np.flatnonzero(np.isin(features.roles, ("gallery", "both")))
    (score,) = evaluate(features, protocol)
    expected = loop(features, query, gallery, skip, False)
    if trapezoid:
        expected[4] = by_trapezoids(features, query, gallery, skip)
    np.testing.assert_allclose(figures(score.trials[0]), expected, rtol=0, atol=1e-12)
    assert score.average_precision == ("trapezoids" if trapezoid else "steps")
    assert f"AP by {score.average_precision}" in str(score)


def films(entries):
    """Features of ATRW's kind of (identity, camera, frame) entries: each image queries all others."""
    features = make([(identity, camera, VISIBLE, "both") for identity, camera, _ in entries], dimensions=6)
    return replace(features, frames=np.array([frame for *_, frame in entries]))


def atrw_skip(features, q, g):
    near = abs(features.frames[q] - features.frames[g]) <= 3
    same = features.identities[q] == features.identities[g] and features.cameras[q] == features.cameras[g]
    return q == g or (same and near)


def assert_atrw(features, kinds, some=slice(None)):
    for score in evaluate(features, "atrw-plain"):
        query = np.flatnonzero(kinds == score.setting)
        assert score.valid_queries + score.skipped_queries == len(query)
        if some != slice(None):
            continue
        expected = loop(features, query, range(len(features)), atrw_skip, False)
        np.testing.assert_allclose(figures(score.trials[0]), expected, rtol=0, atol=1e-12)


def test_atrw_equals_the_loop_apart_for_one_camera_and_several():
    rng = np.random.default_rng(0)
    cameras = {name: rng.choice([1, 2, 3], 1 + (number % 2), replace=False) for number, name in enumerate("abcdefg")}
    entries = [
        (name, int(rng.choice(seen)), int(rng.integers(0, 12))) for name, seen in cameras.items() for _ in range(6)
    ]
    seen = {name: {camera for other, camera, _ in entries if other == name} for name in cameras}
    kinds = np.array(["cross-camera" if len(seen[name]) > 1 else "single-camera" for name, *_ in entries])
    assert_atrw(films(entries), kinds)


@pytest.mark.skipif(not (SHARED / "ATRW").is_dir(), reason="the official ATRW ground truth is not here")
def test_atrw_queries_are_of_the_kind_that_the_official_list_says():
    listed = json.loads((SHARED / "ATRW" / "gt_test_plain.json").read_text())
    numbers = {
        place: number for number, place in enumerate(sorted({tuple(one["frame"][:2]) for one in listed}), start=1)
    }
    features = films([(str(one["entityid"]), numbers[tuple(one["frame"][:2])], one["frame"][2]) for one in listed])
    kinds = np.array(["cross-camera" if one["query"] == "multi" else "single-camera" for one in listed])
    assert [int((kinds == kind).sum()) for kind in ("cross-camera", "single-camera")] == [1063, 701]
    assert_atrw(features, kinds, some=slice(0))


@pytest.mark.skipif(not (SHARED / "MARS").is_dir(), reason="the official MARS lists are not here")
def test_mars_on_the_official_lists():
    tracks = loadmat(SHARED / "MARS" / "tracks_test_info.mat")["track_test_info"]
    asked = loadmat(SHARED / "MARS" / "query_IDX.mat")["query_IDX"].ravel() - 1
    assert (len(tracks), len(asked)) == (12180, 1980)
    roles = np.full(len(tracks), "gallery")
    roles[asked] = "both"
    images = [
        (str(identity), int(camera), VISIBLE, role)
        for (_, _, identity, camera), role in zip(tracks, roles, strict=True)
    ]
    (score,) = evaluate(make(images, dimensions=12, dtype=np.float32), "mars")
    assert score.valid_queries + score.skipped_queries == 1980
    same = {(i, c) for i, c, *_ in images}
    alone = [i for row in asked for i, c in [images[row][:2]] if not any((i, o) in same for o in range(1, 7) if o != c)]
    assert score.skipped_queries == len(alone)


@pytest.mark.skipif(not (SHARED / "VeRi-776").is_dir(), reason="the official VeRi-776 lists are not here")
def test_veri_on_the_official_lists():
    images = []
    for role, name in (("query", "query"), ("gallery", "test")):
        for line in (SHARED / "VeRi-776" / f"original_veri_{name}_list.txt").read_text().split():
            identity, camera = line.split("_")[:2]
            images.append((identity, int(camera.removeprefix("c")), VISIBLE, role))
    (score,) = evaluate(make(images, dimensions=8, dtype=np.float32), "veri-776")
    assert score.valid_queries + score.skipped_queries == 1678
    by_camera = {(i, c) for i, c, _, role in images if role == "gallery"}
    expected = sum(any((i, o) in by_camera for o in range(1, 21) if o != c) for i, c, _, r in images if r == "query")
    assert score.valid_queries == expected


def test_open_set_turns_away_queries_without_a_match():
    images = [("a", 1, VISIBLE, "query"), ("b", 1, VISIBLE, "query"), ("y", 1, VISIBLE, "query"), ("z", 1, VISIBLE, "query"),
              ("a", 2, VISIBLE, "gallery"), ("b", 2, VISIBLE, "gallery"), ("y", 1, VISIBLE, "gallery")]  # fmt: skip
    places = np.array([[0.0, 0], [10, 0], [5, 5], [10, 3], [0, 1], [10, 4], [5, 5]])
    (score,) = evaluate(replace(make(images), embeddings=places), "open-set")
    # Nearest: a at 1 (right), b at 4 (right); y's own is left out, so 50 ** 0.5 to a or so; z at 1 to b.
    assert (score.valid_queries, score.skipped_queries) == (2, 2)
    assert score.rank(1) == 1
    assert score.open_set == {"TAR@FAR=0.01": 0.0, "TAR@FAR=0.05": 0.0, "TAR@FAR=0.1": 0.0, "TAR@FAR=0.2": 0.0}
    closer = replace(make(images), embeddings=places + np.array([[0, 0.5]] + [[0, 0]] * 6))
    assert set(evaluate(closer, "open-set")[0].open_set.values()) == {0.5}, "a at 0.5 is nearer than z at 1"
    assert "TAR@FAR=0.1 50.00" in str(evaluate(closer, "open-set")[0])
    assert evaluate(closer, "open-set")[0].to_json()["trials"][0]["open-set"]["TAR@FAR=0.1"] == 0.5


def test_re_ranked_scores_are_those_of_the_re_ranked_distances_gallery_by_gallery():
    features, permutations = small_sysu()
    options = KReciprocal(k1=6, k2=2)
    (score,) = evaluate(features, "sysu-mm01", permutations=permutations, settings=["all, single-shot"], rerank=options)
    query = np.flatnonzero(np.isin(features.cameras, (3, 6)))
    for number in (0, 9):

        def order_of(camera, identity, count, number=number):
            return permutations.orders[camera, int(identity)][number] - 1 if count else []

        gallery = np.array(sysu_gallery(features, order_of, (1, 2, 4, 5), 1))
        blocks = reranked_blocks(features.embeddings[query], features.embeddings[gallery], options)
        ranking = rank_distances(
            np.concatenate([block.numpy() for _, block in blocks]),
            features.identities[query], features.identities[gallery], features.cameras[query], features.cameras[gallery],
            exclusion=PROTOCOLS["sysu-mm01"].exclusion, counting="first image of each identity",
        )  # fmt: skip
        assert score.trials[number].mAP == ranking.mAP
    assert score.re_ranked == str(options)
    assert f"re-ranked: {options}" in str(score)


def test_normalisation_undoes_a_camera_that_looks_far_away():
    """Camera 4 adds a constant to what it sees; single images of it fall behind until distances are compared within it."""
    rng = np.random.default_rng(0)
    people = [str(number) for number in range(40)]
    images = [(person, 1, VISIBLE, "query") for person in people]
    images += [(person, camera, VISIBLE, "gallery") for person in people for camera in (2, 4)]
    features = make(images, dimensions=16, signal=2.0)
    shifted = features.embeddings + 4.0 * (features.cameras == 4)[:, None] * rng.normal(size=16)
    features = replace(features, embeddings=shifted)
    plain, (better,) = evaluate(features, "cross-modal")[0], evaluate(features, "cross-modal", normalise="camera")
    assert better.mAP > plain.mAP + 0.1
    assert better.normalised == "camera"
    assert "distances normalised by camera" in str(better)


def test_single_precision_is_near_double():
    features = tracklets(3)
    double, single = evaluate(features, "mars")[0], evaluate(features, "mars", dtype=torch.float32)[0]
    assert single.mAP == pytest.approx(double.mAP, abs=1e-6)


def test_distances_from_elsewhere_are_ranked_normalised_and_drawn_as_those_of_a_metric():
    rng = np.random.default_rng(3)
    images = [
        (f"p{i}", camera, 1 if camera in (3, 6) else 0, "both") for i in range(6) for camera in (1, 2, 3, 4, 5, 6)
    ]
    features = make([image for image in images for _ in range(2)], dimensions=3, seed=4)
    blank = replace(features, embeddings=rng.normal(size=features.embeddings.shape))  # not looked at

    def compare(queries, gallery):
        whole = torch.from_numpy(cdist(features.embeddings[queries], features.embeddings[gallery], "sqeuclidean"))
        for start in range(0, len(queries), 5):
            yield slice(start, min(start + 5, len(queries))), whole[start : start + 5].sqrt()

    for options in ({}, {"normalise": "camera"}, {"trials": 2, "settings": ["indoor, multi-shot"]}):
        ours = evaluate(blank, "sysu-mm01", compare=compare, metric="fused", **options)
        theirs = evaluate(features, "sysu-mm01", **options)
        for one, other in zip(ours, theirs, strict=True):
            assert one.metric == "fused"
            assert [trial.to_json() for trial in one.trials] == [trial.to_json() for trial in other.trials]
    with pytest.raises(CrossreidError, match="re-ranking needs embeddings"):
        evaluate(blank, "sysu-mm01", compare=compare, rerank=KReciprocal())
