"""What people decide is done, kept whatever is seen later, asked of a process that watches, and written down as marks."""

import pytest

from checked_watch import check
from crossreid.errors import CrossreidError
from crossreid.watching.cameras import Camera
from crossreid.watching.identities import decisions
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.decisions import IdentityConflict, ask_merge, ask_split
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import open_state
from crossreid.watching.identities.topology import Topology
from forked import Forked
from scripted_tracklets import calibration, looks, tracklet


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "watch"


def watched(state):
    """g1 in a and b, g2 in a, g3 in b."""
    identities = Identities(state, calibration(), MatchingOptions(absent_after=5))
    for camera, track, start, who in [("a", 1, 0, 1), ("a", 2, 3, 2), ("b", 1, 30, 1), ("b", 2, 60, 3)]:
        identities.observe(
            tracklet(camera, track, start, start + 5, looks(who, seed=track + start), images=True, finished=False)
        )
    assert [one.identity for one in state.identities()] == ["g3", "g1", "g2"]
    return identities


def test_what_a_person_joined_stays_joined(folder):
    with open_state(folder) as state:
        identities = watched(state)
        merged = identities.merge("g2", "g3", by="ana")
        assert (merged.kind, merged.identity, merged.other, merged.by, merged.probability) == (
            "merged",
            "g2",
            "g3",
            "ana",
            None,
        )
        assert state.resolve("g3") == "g2"
        assert [(one.camera, one.track, one.pinned) for one in state.tracks_of("g3")] == [
            ("a", 2, True),
            ("b", 2, True),
        ]
        identities.observe(tracklet("b", 2, 60, 70, looks(1, seed=9)))  # looks like g1 now, and a person knows better
        assert state.track("b", 2).identity == "g2"
        check(state, Topology(), identities)
        with pytest.raises(IdentityConflict, match="g2 and g3 are already one identity: g2"):
            identities.merge("g2", "g3", by="ana")
        with pytest.raises(
            IdentityConflict, match="cannot be one identity: camera a saw both at once, as tracks 1 and 2"
        ):
            identities.merge("g1", "g2", by="ana")
        with pytest.raises(CrossreidError, match="has no identity g9"):
            identities.merge("g1", "g9", by="ana")
        with pytest.raises(CrossreidError, match="identity '7': expected g and a number"):
            identities.merge("g1", "7", by="ana")


def test_what_a_person_split_stays_split(folder):
    with open_state(folder) as state:
        identities = watched(state)
        wrong = state.track("b", 1)
        event = identities.split("g1", [wrong.number], by="ana")
        assert (event.kind, event.identity, event.other, event.by) == ("split", "g4", "g1", "ana")
        assert state.track("b", 1).identity == "g4"
        check(state, Topology(), identities)
        identities.observe(tracklet("b", 1, 30, 38, looks(1, seed=0)))  # just as g1 looks
        assert state.track("b", 1).identity == "g4"
        identities.observe(tracklet("b", 3, 100, 105, looks(1, seed=0)))  # somebody who looks like both joins them not
        assert {state.track("a", 1).identity, state.track("b", 1).identity} == {"g1", "g4"}
        check(state, Topology(), identities)
        for tracks, message in [
            ([], "no track is named"),
            ([99], "g4 has no track 99"),
            ([wrong.number], "all tracks of g4"),
        ]:
            own = [one.number for one in state.tracks_of("g4")]
            with pytest.raises(IdentityConflict, match=message):
                identities.split("g4", own if "all" in message else tracks, by="ana")
        identities.merge("g1", "g4", by="bea")  # another person decides otherwise: the last word holds
        assert state.track("b", 1).identity == "g1"
        assert not decisions.kept_apart(state, 1, 4)


def test_split_from_who_is_in_view_says_who_is_there(folder):
    with open_state(folder) as state:
        identities = watched(state)
        before = state.last_event()
        identities.split("g1", [state.track("b", 1).number], by="ana")
        assert [(event.kind, event.identity) for event in state.events(before)] == [
            ("split", "g4"), ("left", "g1"), ("seen", "g4"),
        ]  # fmt: skip


def ask(folder):
    assert ask_merge(folder, "g2", "g3", by="ana") == 1
    assert ask_split(folder, "g1", [3], by="ana") == 2
    with pytest.raises(IdentityConflict):
        ask_merge(folder, "g1", "g2", by="ana")
    with pytest.raises(CrossreidError, match="no identity g9"):
        ask_split(folder, "g9", [1], by="ana")
    with pytest.raises(IdentityConflict, match="expected some of the tracks of g1: 1, 3"):
        ask_split(folder, "g1", [2], by="ana")


def test_who_watches_is_asked_and_answers(folder):
    with open_state(folder) as state:
        identities = watched(state)
        assert identities.answer_requests() == []
        asking = Forked(ask, folder, log=str(folder / "log"))
        assert asking.wait() == 0, (folder / "log").read_text()
        identities.observe(tracklet("b", 3, 90, 95, looks(7)))
        told = identities.answer_requests()
        assert [(event.kind, event.identity, event.other, event.by) for event in told if event.by] == [
            ("merged", "g2", "g3", "ana"), ("split", "g5", "g1", "ana"),
        ]  # fmt: skip
        assert identities.answer_requests() == []
        assert state.resolve("g3") == "g2"
        check(state, Topology(), identities)


def test_what_cannot_be_done_any_more_is_refused_with_the_reason(folder):
    with open_state(folder) as state:
        identities = watched(state)
        for number in (1, 2):
            assert ask_merge(folder, "g2", "g3", by="ana") == number
        assert len([event for event in identities.answer_requests() if event.kind == "merged"]) == 1
        [(first, nothing), (none, refused)] = state.database.read("SELECT event, refused FROM requests ORDER BY number")
        assert state.events(first - 1, 1)[0].kind == "merged"
        assert (nothing, none) == (None, None)
        assert "are already one identity" in refused


def test_where_nobody_watches_it_is_done_at_once(folder):
    with open_state(folder) as state:
        watched(state)
    event = ask_merge(folder, "g2", "g3", by="ana")
    assert (event.kind, event.identity) == ("merged", "g2")
    assert ask_split(folder, "g2", [4], by="ana").other == "g2"
    with open_state(folder) as state:
        identities = Identities(state, calibration(), MatchingOptions(absent_after=5))
        assert state.track("b", 2).identity == "g4"
        check(state, Topology(), identities)


def test_decisions_are_marks_to_train_on(folder, tmp_path):
    from crossreid.galleries.marks import read_marks, write_manifest
    from crossreid.watching.identities.training_marks import write_marks

    with open_state(folder) as state:
        state.note_cameras([Camera("a", 1, "a.mp4"), Camera("b", 2, "b.mp4")])
        identities = watched(state)
        with state.step():
            state.database.write("UPDATE identities SET name = '=anna' WHERE number = 2")
        identities.merge("g2", "g3", by="ana")
        identities.split("g1", [state.track("b", 1).number], by="ana")
        assert write_marks(state, tmp_path / "marks.csv") == (3, 1)
        written = write_manifest(read_marks(tmp_path / "marks.csv"), tmp_path / "manifest.csv", images=[folder])
        assert (written.images, written.identities, written.right, written.wrong) == (4, 1, 3, 1)
        rows = (tmp_path / "manifest.csv").read_text().splitlines()[1:]
        assert all("=anna" in row and "crops/" in row for row in rows)
        assert len({row.split(",")[0] for row in rows}) == 4
        identities.split("g2", [state.track("b", 2).number], by="bea")  # overruled
        assert write_marks(state, tmp_path / "marks.csv") == (0, 2)
