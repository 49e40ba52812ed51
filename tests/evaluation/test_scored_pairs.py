from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from calibrated import people
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.evaluation.exclusion import (
    NO_EXCLUSION,
    SAME_CAMERA,
    SAME_IDENTITY_AND_CAMERA,
    same_camera_within,
    same_place,
)
from crossreid.evaluation.scored_pairs import Sides, calibrated_exclusion

RULES = [NO_EXCLUSION, SAME_IDENTITY_AND_CAMERA, SAME_CAMERA, same_place((3, 2)), same_camera_within(2)]


@pytest.fixture(scope="module")
def found():
    few = people(60, 6, cameras=4)
    rng = np.random.default_rng(1)
    films = np.array([f"t{row // 2}" if row % 5 else "" for row in range(60)])
    cameras = np.where(np.arange(60) % 11 == 0, 0, few.cameras)
    return replace(few, cameras=cameras, frames=rng.integers(-1, 6, 60), tracklets=films)


def left_out(features, a, b, rule):
    """What is said of the pairs that do not count, one by one."""
    one_camera = features.cameras[a] == features.cameras[b] > 0
    same = features.identities[a] == features.identities[b]
    frames = features.frames[a], features.frames[b]
    near = rule.frames is None or min(frames) < 0 or abs(frames[0] - frames[1]) <= rule.frames
    if rule.camera and one_camera:
        return True
    if not rule.camera and one_camera and same and near:
        return True
    if features.tracklets[a] and features.tracklets[a] == features.tracklets[b]:
        return True
    return any({features.cameras[a], features.cameras[b]} == set(place) for place in rule.places)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.description)
def test_pairs_are_those_of_a_loop(found, rule):
    unit = found.embeddings / np.linalg.norm(found.embeddings, axis=1, keepdims=True)
    sides = Sides(found, found, rule, ("p5",))
    for query, gallery in ((VISIBLE, VISIBLE), (VISIBLE, INFRARED), (INFRARED, INFRARED)):
        expected = sorted(
            (round(float(unit[a] @ unit[b]), 9), bool(found.identities[a] == found.identities[b]))
            for a, b in combinations(range(60), 2)
            if {*found.modalities[[a, b]]} == {int(query), int(gallery)}
            and "p5" not in found.identities[[a, b]]
            and not left_out(found, a, b, rule)
        )
        pairs = sides.pairs(query, gallery)
        told = sorted(zip(np.round(pairs.scores, 9).tolist(), pairs.same.tolist(), strict=True))
        assert told == expected
        assert (pairs.same == (pairs.first == pairs.second)).all()
        assert pairs.identities == len(set(pairs.first[pairs.same].tolist()))


def test_the_nearest_are_those_of_a_loop(found):
    unit = found.embeddings / np.linalg.norm(found.embeddings, axis=1, keepdims=True)
    roles = np.array(["query", "gallery", "both"])[np.arange(60) % 3]
    asked = replace(found, roles=roles)
    rule = SAME_IDENTITY_AND_CAMERA
    nearest = Sides(asked, asked, rule).nearest(INFRARED, VISIBLE, by_role=True)
    queries = [row for row in range(60) if roles[row] != "gallery" and found.modalities[row] == INFRARED]
    entries = [row for row in range(60) if roles[row] != "query" and found.modalities[row] == VISIBLE]
    assert nearest.entries == len(entries)
    for place, query in enumerate(queries):
        kept = [row for row in entries if not left_out(found, query, row, rule)]
        best = max(kept, key=lambda row: unit[query] @ unit[row])
        others = [row for row in kept if found.identities[row] != found.identities[query]]
        assert nearest.best[place] == pytest.approx(unit[query] @ unit[best])
        assert nearest.impostor[place] == pytest.approx(max(unit[query] @ unit[row] for row in others))
        assert nearest.right[place] == (found.identities[best] == found.identities[query])
        assert nearest.mated[place] == any(found.identities[row] == found.identities[query] for row in kept)
    assert len(Sides(asked, asked, rule).nearest(INFRARED, VISIBLE).best) == np.count_nonzero(
        found.modalities == INFRARED
    )


def test_two_that_nobody_asks_with_are_no_pair(found):
    roles = np.where(np.isin(found.identities, ["p0", "p1"]), "both", "gallery")
    asked = replace(found, roles=roles)
    pairs = Sides(asked, asked, NO_EXCLUSION).pairs(VISIBLE, VISIBLE)
    names = np.unique(found.identities)
    queried = np.isin(names, ["p0", "p1"])
    assert (queried[pairs.first] | queried[pairs.second]).all()
    assert not (queried[pairs.first] & queried[pairs.second]).all()


def test_of_very_many_pairs_images_are_drawn(found):
    every = people(400, 10)
    whole, drawn = (Sides(every, every, NO_EXCLUSION).pairs(VISIBLE, INFRARED, most=most) for most in (10**6, 5000))
    assert 4000 < len(drawn) <= 5000 < len(whole)
    assert np.mean(drawn.same) == pytest.approx(np.mean(whole.same), abs=0.03)
    again = Sides(every, every, NO_EXCLUSION).pairs(VISIBLE, INFRARED, most=5000)
    assert (again.scores == drawn.scores).all()
    assert set(np.round(drawn.scores, 12)) <= set(np.round(whole.scores, 12))


def test_two_sets_are_compared_once_in_each_direction(found):
    sets = replace(found, tracklets=np.array([f"s{row}" for row in range(60)]))
    single = replace(found, tracklets=np.array([f"s{row}" for row in range(60)]))  # each image of the set of its own
    pairs = Sides(sets, single, NO_EXCLUSION).pairs(VISIBLE, INFRARED)
    one = Sides(single, single, NO_EXCLUSION).pairs(VISIBLE, INFRARED)
    np.testing.assert_allclose(np.sort(pairs.scores), np.sort(np.repeat(one.scores, 2)))
    same_kind = Sides(sets, single, NO_EXCLUSION).pairs(VISIBLE, VISIBLE)
    assert not (np.abs(same_kind.scores - 1) < 1e-9).any(), "no set is compared with an image of it"


def test_the_rule_that_was_applied_is_said():
    assert calibrated_exclusion(NO_EXCLUSION).description == "same identity and same camera"
    assert calibrated_exclusion(SAME_CAMERA) is SAME_CAMERA
    assert calibrated_exclusion(same_place((3, 2))).description.endswith("; same identity and same camera")
