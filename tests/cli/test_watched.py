"""`crossreid watched`, as a person types it, with and without a process that watches."""

from functools import partial

import pytest

import typed_commands
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.state import open_state
from scripted_tracklets import calibration, looks, tracklet


@pytest.fixture
def folder(tmp_path):
    with open_state(tmp_path / "watch") as state:
        identities = Identities(state, calibration())
        for camera, track, start, who in [("a", 1, 0, 1), ("a", 2, 3, 2), ("b", 1, 30, 1), ("b", 2, 60, 3)]:
            identities.observe(tracklet(camera, track, start, start + 5, looks(who, seed=track), images=True))
    return tmp_path / "watch"


ran = partial(typed_commands.ran, "watched")


@pytest.fixture
def told(capsys):
    """What the command says where it must fail cleanly."""
    return partial(typed_commands.refused, capsys, "watched")


def test_from_who_was_seen_to_marks_and_oblivion(folder, tmp_path):
    assert ran("identities", folder) == (
        "g3: unknown, 1 tracks in b, 0:01:00 to 0:01:05 g1: unknown, 2 tracks in a, b, 0:00:00 to 0:00:35 g2: unknown, 1 tracks "
        "in a, 0:00:03 to 0:00:08"
    )
    assert ran("merge", folder, "g2", "g3", "--by", "ana") == "g3 is g2 from now on."
    assert ran("split", folder, "g1", "--track", "b:1", "--by", "ana") == "these tracks are g4 from now on."
    assert "3 right, 1 wrong." in ran("marks", folder, "--out", tmp_path / "marks.csv")
    assert ran("forget", folder, "--before", "20.5") == "2 tracks deleted."
    assert ran("forget", folder, "--older-than", "1") == "2 tracks deleted."
    assert ran("identities", folder) == ""
    assert list((folder / "crops").iterdir()) == []


def test_who_watches_is_asked(folder):
    with open_state(folder) as state:
        identities = Identities(state, calibration())
        for arguments in (("merge", folder, "g2", "g3", "--by", "ana"), ("forget", folder, "--before", "40.5")):
            assert ran(*arguments) == "requested; the running watch does it next."
        assert [event.kind for event in identities.answer_requests()][:1] == ["merged"]
        assert [(one.identity, one.tracks) for one in state.identities()] == [("g2", 1)]
        assert identities._candidates.size == 1


def test_what_cannot_be_is_one_line(folder, told, tmp_path):
    assert "camera a saw both at once" in told("merge", folder, "g1", "g2", "--by", "ana")
    assert told("split", folder, "g1", "--track", "b:7", "--by", "ana").endswith(
        "--track b:7: g1 has the tracks a:1, b:1."
    )
    assert "expected either --before TIME or --older-than DAYS" in told("forget", folder)
    assert "holds no state of a watch" in told("identities", tmp_path)
