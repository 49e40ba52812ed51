"""A process that watches is killed again and again: what it has kept in the end is what it would have kept unharmed."""

import itertools
import os

import pytest

import watch_until_killed
from checked_watch import check
from crossreid.watching.identities.state import open_state
from forked import Forked, text_of


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_watches_end_as_one_that_lived(tmp_path, seed):
    kills = int(os.environ.get("CROSSREID_KILLS", "10"))
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    watch_until_killed.watch(tmp_path / "whole", seed)  # first: what it imports, no child does again
    log = tmp_path / "log"
    assert Forked(watch_until_killed.main, tmp_path / "killed", seed, kills, log=log).wait(300) == 0, text_of(log)
    killed, status = map(int, text_of(log).split())
    assert status == 0
    assert killed >= 8
    assert watch_until_killed.content(tmp_path / "killed") == watch_until_killed.content(tmp_path / "whole")
    with open_state(tmp_path / "killed", read_only=True) as state:
        check(state, watch_until_killed.TOPOLOGY)
        events = {event.id: event for event in state.events(0, 100_000)}
        assert len(events) > 20
        assert {event.kind for event in events.values()} >= {"seen", "left", "merged"}
        last = state.cursor("file")
    sent = watch_until_killed.sent(tmp_path / "killed")
    assert {one["id"] for one in sent} == {event.id for event in events.values() if event.number <= last}
    for one in sent:  # what was sent twice is the same
        assert events[one["id"]].number == one["number"]
        assert events[one["id"]].identity == one["identity"]
    numbers = [one["number"] for one in sent]
    assert all(after in (before, before + 1) for before, after in itertools.pairwise(numbers))
