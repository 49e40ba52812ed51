"""Identities across cameras: what holds whatever is seen, and the rules one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checked_watch import check
from crossreid.data.records import Modality
from crossreid.watching.identities import posterior
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.known_people import KnownPeople
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import open_state
from crossreid.watching.identities.topology import Topology
from scripted_tracklets import calibration, looks, person, tracklet, unit
from walks_of_people import observations

TOPOLOGIES = [
    Topology(),
    Topology.model_validate(
        {"links": [{"between": ["a", "b"], "overlap": True}, {"between": ["b", "c"], "seconds": [2, 30]}]}
    ),
    Topology.model_validate(
        {"links": [{"between": ["a", "b"], "seconds": [1, 60]}], "unnamed": "never", "clock_error": 0.5}
    ),
]


@given(seed=st.integers(0, 10_000), topology=st.sampled_from(TOPOLOGIES), noise=st.sampled_from([0.6, 1.6, 3.0]))
@settings(max_examples=15, deadline=None)
def test_what_holds_whatever_is_seen(tmp_path_factory, seed, topology, noise):
    rng = np.random.default_rng(seed)
    with open_state(tmp_path_factory.mktemp("watch"), watch="w") as state:
        state.database._writer.execute("PRAGMA synchronous=OFF")
        identities = Identities(state, calibration(), MatchingOptions(absent_after=5, forget_after=0.02), topology)
        waiting = observations(seed, noise=(0.2, noise))
        while waiting:
            count = int(rng.integers(1, 4))
            batch, waiting = waiting[:count], waiting[count:]
            newest = {(one.camera, one.track): one for _, one in batch}
            identities.observe_all(list(newest.values()))
            if rng.random() < 0.3:
                identities.advance(batch[-1][1].camera, batch[-1][0])
            if rng.random() < 0.3:
                check(state, topology, identities)
        check(state, topology, identities)
        for camera in "abc":
            identities.ended(camera)
        check(state, topology, identities)
        assert not [one for one in state.timeline() if one.open]


@pytest.fixture
def state(tmp_path):
    with open_state(tmp_path / "watch", watch="w") as opened:
        opened.database._writer.execute("PRAGMA synchronous=OFF")
        yield opened


def watching(state, topology=None, gallery=None, **options):
    topology = None if topology is None else Topology.model_validate(topology)
    return Identities(state, calibration(), MatchingOptions(**options), topology, gallery)


def kinds(events):
    return [(event.kind, event.identity, event.other, event.camera) for event in events]


def between(*weights):
    """An embedding between people: the sum of theirs by weight."""
    return unit(sum(weight * person(number) for number, weight in enumerate(weights)))


def test_who_is_seen_again_keeps_the_identity_and_who_is_not_gets_a_new_one(state):
    identities = watching(state)
    assert kinds(identities.observe(tracklet("a", 1, 0, 5, looks(1)))) == [("seen", "g1", None, "a")]
    assert kinds(identities.observe(tracklet("a", 2, 2, 6, looks(2)))) == [("seen", "g2", None, "a")]
    [left, seen] = identities.observe(tracklet("b", 1, 20, 25, looks(1, seed=1)))
    assert kinds([left, seen]) == [("left", "g1", None, "a"), ("seen", "g1", None, "b")]
    assert left.time == 5
    assert seen.time == 20
    assert 0.99 < seen.probability < 1
    assert (seen.track, seen.modality, seen.name) == (1, "visible", None)
    assert state.track("b", 1).probability == seen.probability


def test_two_in_one_view_at_once_are_two_however_alike(state):
    identities = watching(state)
    identities.observe_all([tracklet("a", 1, 0, 5, looks(1)), tracklet("a", 2, 4, 9, looks(1, seed=1))])
    identities.observe(tracklet("a", 3, 8, 12, looks(1, seed=2)))
    assert [state.track("a", number).identity for number in (1, 2, 3)] == ["g1", "g2", "g1"]


def test_travel_times_and_overlap_say_who_can_be_there(state):
    topology = {
        "links": [{"between": ["a", "b"], "seconds": [10, 60]}, {"between": ["a", "c"], "overlap": True}],
        "unnamed": "never",
    }
    identities = watching(state, topology)
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    identities.observe(tracklet("c", 1, 3, 6, looks(1, seed=1)))  # in both views at once
    identities.observe(tracklet("b", 1, 8, 12, looks(1, seed=2)))  # too soon
    identities.observe(tracklet("b", 2, 20, 25, looks(1, seed=3)))
    assert state.track("c", 1).identity == "g1"
    assert state.track("b", 1).identity == "g2"
    assert state.track("b", 2).identity in ("g1", "g2")
    identities.observe(tracklet("a", 2, 200, 205, looks(1, seed=4)))  # too late from b
    assert state.track("a", 2).identity not in (state.track("b", 2).identity,)


def test_who_is_likelier_gets_the_identity_and_the_other_one_goes(state):
    identities = watching(state)
    identities.observe(tracklet("a", 1, 0, 5, person(0)))
    identities.observe(tracklet("a", 2, 20, 25, between(0.8, 0.6), finished=False))
    assert state.track("a", 2).identity == "g1"
    events = identities.observe(tracklet("a", 3, 22, 26, looks(0, noise=0.05), finished=False))
    assert state.track("a", 3).identity == "g1"
    assert state.track("a", 2).identity == "g2"
    assert kinds(events) == [
        ("split", "g2", "g1", "a"), ("left", "g1", None, "a"), ("seen", "g2", None, "a"), ("seen", "g1", None, "a"),
    ]  # fmt: skip
    assert events[0].track == 2
    check(state, Topology(), identities)


def test_who_holds_it_rightly_stays(state):
    identities = watching(state)
    identities.observe(tracklet("a", 1, 0, 5, person(0)))
    identities.observe(tracklet("a", 2, 20, 25, looks(0, noise=0.05), finished=False))
    identities.observe(tracklet("a", 3, 22, 26, between(0.8, 0.6), finished=False))
    assert [state.track("a", number).identity for number in (1, 2, 3)] == ["g1", "g1", "g2"]


def test_a_track_that_is_seen_better_is_joined_with_who_it_is(state):
    identities = watching(state)
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    identities.observe(tracklet("b", 1, 20, 21, looks(1, noise=3), finished=False))
    assert state.track("b", 1).identity == "g2"
    [event] = [
        event for event in identities.observe(tracklet("b", 1, 20, 25, looks(1, seed=1))) if event.kind == "merged"
    ]
    assert (event.identity, event.other, event.camera) == ("g1", "g2", None)
    assert event.probability > 0.99
    assert state.resolve("g2") == "g1"
    assert [one.identity for one in state.timeline(identity="g2")] == ["g1", "g1"]


def test_two_identities_are_joined_by_who_is_both(state):
    identities = watching(state, merge_at=0.8)
    one, two = between(1, 0.5, 0.5, 0.5), between(1, -0.5, -0.5, -0.5)
    assert one @ two < 0.3
    identities.observe(tracklet("a", 1, 0, 5, one))
    identities.observe(tracklet("b", 1, 50, 55, two))
    assert len(state.identities()) == 2
    events = identities.observe(tracklet("a", 2, 100, 105, between(1, 0.02, 0.02, 0.02)))
    assert ("merged", "g1", "g2", None) in kinds(events)
    assert {state.track(*name).identity for name in (("a", 1), ("b", 1), ("a", 2))} == {"g1"}


def test_who_was_seen_at_once_is_never_joined(state):
    identities = watching(state)
    one, two = between(1, 0.5, 0.5, 0.5), between(1, -0.5, -0.5, -0.5)
    identities.observe(tracklet("a", 1, 0, 5, one))
    identities.observe(tracklet("a", 2, 3, 8, two))
    identities.observe(tracklet("a", 3, 100, 105, between(1, 0.02, 0.02, 0.02)))
    assert len(state.identities()) == 2


def test_a_track_that_grows_into_anothers_time_parts_them(state):
    identities = watching(state)
    identities.observe(tracklet("a", 1, 0, 5, looks(1), finished=False))
    identities.observe(tracklet("b", 1, 7, 9, looks(1, seed=1), finished=False))
    assert state.track("b", 1).identity == "g1"
    identities.observe(tracklet("a", 1, 0, 8, looks(1), finished=False))
    assert state.track("a", 1).identity == "g1"
    assert state.track("b", 1).identity == "g2"
    check(state, Topology(), identities)


def test_seen_once_until_out_of_sight_for_long_enough(state):
    identities = watching(state, absent_after=10)
    told = identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    told += identities.advance("a", 12)
    told += identities.observe(tracklet("a", 2, 12, 14, looks(1, seed=1)))
    told += identities.advance("a", 24)
    assert kinds(told) == [("seen", "g1", None, "a")]
    [left] = identities.advance("a", 24.5)
    assert (left.kind, left.time, left.track) == ("left", 14, 2)
    [seen] = identities.observe(tracklet("a", 3, 40, 44, looks(1, seed=2)))
    assert (seen.kind, seen.identity) == ("seen", "g1")
    assert kinds(identities.ended("a")) == [("left", "g1", None, "a")]
    assert identities.ended("a") == []
    assert [(one.first, one.last, one.tracks) for one in state.timeline()] == [(0, 14, 2), (40, 44, 1)]


def test_who_is_not_seen_for_hours_is_matched_no_more_and_memory_stays_flat(state):
    identities = watching(state, forget_after=1 / 60)
    sizes = []
    for number in range(1, 200):
        identities.observe(tracklet("a", number, 10 * number, 10 * number + 5, looks(number, dimension=128)))
        sizes.append(identities._candidates.size)
    assert max(sizes) <= 8
    assert len(identities._candidates._vectors.live) <= 10
    [event] = [
        one
        for one in identities.observe(tracklet("a", 200, 2000, 2005, looks(3, seed=1, dimension=128)))
        if one.kind == "seen"
    ]
    assert event.identity == "g200"
    assert len(state.identities()) == 200


def test_a_failed_step_leaves_nothing_in_state_or_in_memory(state):
    identities = watching(state)
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))

    def fail():
        with state.step():
            identities.observe(tracklet("a", 2, 20, 25, looks(2)))
            state.note_progress("a", 50, 25)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state.progress("a") is None
    assert state.track("a", 2) is None
    assert len(state.events()) == 1
    [event] = identities.observe(tracklet("b", 1, 40, 45, looks(2, seed=1)))
    assert (event.identity, event.number, event.probability) == ("g2", 2, None)
    check(state, Topology(), identities)


@pytest.mark.parametrize(
    "wrong", [{"embedding": 2 * looks(1)}, {"embedding": looks(1)[None]}, {"times": np.array([5.0])}]
)
def test_a_tracklet_that_is_none_is_refused(state, wrong):
    from dataclasses import replace

    from crossreid.data.records import DataError

    identities = watching(state)
    with pytest.raises(DataError, match="track 1 of camera a: expected"):
        identities.observe(replace(tracklet("a", 1, 0, 5, looks(1)), **wrong))
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    with pytest.raises(DataError, match="embedding of 32 dimensions"):
        identities.observe(tracklet("b", 1, 10, 15, looks(1, dimension=16)))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    from crossreid.galleries import Entries, open_gallery

    folder = tmp_path_factory.mktemp("gallery") / "people"
    with open_gallery(folder, model="ab" * 32, dimension=32) as opened:
        shown = [(1, "anna", 0, None), (1, "anna", 0, None), (2, "ben", 2, 100.0), (3, None, 0, None)]
        opened.add(Entries(
            np.stack([looks(number, seed=50 + row) for row, (number, *_) in enumerate(shown)]), ids=[str(row) for row in range(4)],
            identities=[row[1] for row in shown], cameras=[row[2] for row in shown],
            times=[np.nan if row[3] is None else row[3] for row in shown],
        ))  # fmt: skip
    with open_gallery(folder, read_only=True) as opened:
        yield opened


def test_who_is_in_the_gallery_is_named_and_who_is_not_is_unknown(state, gallery):
    from crossreid.watching.cameras import Camera

    state.note_cameras([Camera("a", 1, "a.mp4"), Camera("b", 2, "b.mp4")])
    identities = watching(state, {"links": [{"between": ["a", "b"], "seconds": [30, 90]}]}, gallery)
    [anna] = identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    assert (anna.name, anna.identity) == ("anna", "g1")
    assert anna.probability > 0.99
    [other] = identities.observe(tracklet("a", 2, 0, 5, looks(3)))  # an entry without an identity says nothing
    assert (other.name, other.probability) == (None, None)
    [_, again] = identities.observe(tracklet("b", 1, 60, 65, looks(1, seed=1)))
    assert (again.name, again.identity) == ("anna", "g1")
    [ben] = identities.observe(tracklet("a", 3, 90, 95, looks(2)))  # in b at 100, half a minute away
    assert ben.name is None
    [ben] = identities.observe(tracklet("a", 4, 150, 155, looks(2, seed=1)))
    assert ben.name == "ben"
    assert state.identities()[0].name == "ben"
    check(state, Topology(), identities)


def test_an_unknown_that_turns_out_to_be_known_is_joined_with_the_name(state, gallery):
    identities = watching(state, gallery=gallery)
    [unknown] = identities.observe(tracklet("a", 1, 0, 1, looks(1, noise=3), finished=False))
    assert unknown.name is None
    [merged] = identities.observe(tracklet("a", 1, 0, 5, looks(1), finished=False))
    assert (merged.kind, merged.name, merged.other) == ("merged", "anna", "g1")
    assert state.track("a", 1).name == "anna"


def test_pairs_of_modalities_without_a_curve_are_named_and_say_nothing(state):
    from crossreid.data.records import INFRARED
    from crossreid.evaluation.calibration import Calibration

    curves = {"visible-visible": calibration().curves["visible-visible"]}
    identities = Identities(state, Calibration(curves, {}))
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    identities.observe(tracklet("b", 1, 20, 25, looks(1, seed=1), modality=INFRARED))
    assert state.track("b", 1).identity == "g2"
    assert identities.uncompared == {"infrared-visible"}


def test_a_calibration_says_at_which_prior_and_for_sets(state, gallery):
    """The same likelihood ratios, told at another share of pairs of one identity, and for sets alone, decide the same."""
    from crossreid.evaluation.calibration import Calibration, Curve

    share, curves = 0.01, {}
    for name, curve in calibration().curves.items():
        odds = curve.probabilities / (1 - curve.probabilities) * share / (1 - share)
        curves[name] = Curve(curve.scores, odds / (1 + odds))
    sets = Calibration(curves, {}, prior=share)
    identities = Identities(state, Calibration({}, {}, others={"sets": sets, "set-image": sets}), gallery=gallery)
    identities.observe(tracklet("a", 1, 0, 5, looks(1)))
    seen = identities.observe(tracklet("b", 1, 60, 65, looks(1, seed=1)))[-1]
    assert (seen.identity, seen.name) == ("g1", "anna")
    assert seen.probability == pytest.approx(0.9998, abs=2e-4)


def test_the_probability_of_an_event_is_the_pages_formula_worked_out(state, gallery):
    """Four who it could be: two that were seen, one of them in three tracklets; two of the gallery. Written out by hand."""
    identities = watching(state, gallery=gallery, largest_ratio=50.0, tracks_per_identity=2, new_identity=0.3)
    shown = {"g1": [looks(7, 0.7, seed=row) for row in range(3)], "g2": [looks(8, 0.7)]}
    start = 0
    for who, embeddings in shown.items():
        for embedding in embeddings:
            identities.observe(tracklet("a", start + 1, 10 * start, 10 * start + 5, embedding))
            assert state.track("a", start + 1).identity == who
            start += 1
    asked = looks(7, 0.9, seed=9)
    [event] = [one for one in identities.observe(tracklet("b", 1, 100, 105, asked)) if one.kind == "seen"]
    shown["g1"] = shown["g1"][-2:]  # the latest
    entries = [entry for part in gallery.batches() for entry in zip(part.identities, part.embeddings, strict=True)]
    for name in ("anna", "ben"):
        shown[name] = [embedding for identity, embedding in entries if identity == name]
    curve, weights = calibration().curves["visible-visible"], {}
    for who, embeddings in shown.items():
        total = 0.0
        for embedding in embeddings:
            p = float(
                np.interp(float(asked.astype(float) @ embedding.astype(float)), curve.scores, curve.probabilities)
            )
            total += math.log(min(max(p / (1 - p), 1 / 50), 50))
        weights[who] = 0.7 / 4 * math.exp(total / math.sqrt(len(embeddings)))
    assert event.identity == "g1"
    assert event.probability == pytest.approx(weights["g1"] / (0.3 + sum(weights.values())), abs=1e-6)
    assert 0.5 < event.probability < 0.999


def test_an_entry_that_was_not_among_the_nearest_counts_as_the_farthest_that_was(gallery):
    known = KnownPeople(gallery, MatchingOptions(gallery_entries=2))
    assert known.count == 2
    asked = unit(looks(1, seed=50) + 0.6 * looks(2, seed=52))
    scores = sorted((float(asked @ entry) for part in gallery.batches() for entry in part.embeddings), reverse=True)
    found = known.find(asked, Modality.VISIBLE, calibration())
    ratios = posterior.pair_ratios(np.array(scores[:2]), Modality.VISIBLE, Modality.VISIBLE, calibration(), 1e4)
    assert list(found) == ["anna"]
    assert found["anna"].total == pytest.approx(ratios.sum())
    one = KnownPeople(gallery, MatchingOptions(gallery_entries=1)).find(asked, Modality.VISIBLE, calibration())
    assert (one["anna"].count, one["anna"].total) == (2, pytest.approx(2 * ratios[0]))
