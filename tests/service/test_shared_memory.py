"""Limits that several processes share: as those of one process, together, also after a process was killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.service import rate_limits
from crossreid.service.leftovers import Leftovers
from crossreid.service.rate_limits import SharedTokenBuckets, TokenBuckets
from crossreid.service.shared_memory import SharedMemory
from crossreid.service.shares import SharedShares, Shares

PLACES = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("limits")


def opened(path):
    """As each of two workers has it."""
    SharedMemory.create(path, PLACES)
    return [SharedMemory(path, PLACES) for _ in range(2)]


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.5, 2.0]), st.floats(0, 3), st.integers(0, 1)), max_size=40
    )
)
def test_buckets_of_two_workers_are_those_of_one(folder, asked):
    one, both = TokenBuckets(), [SharedTokenBuckets(memory) for memory in opened(folder / "buckets")]
    now = [1000.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limits.time, "monotonic", lambda: now[0])
        for name, rate, later, worker in asked:
            now[0] += later
            assert both[worker].wait(name, rate, 3) == pytest.approx(one.wait(name, rate, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1), st.integers(0, 9)), max_size=60))
def test_places_of_two_workers_are_those_of_one(folder, asked):
    memories = opened(folder / "shares")
    one, both = Shares(PLACES), [SharedShares(PLACES, memory, number) for number, memory in enumerate(memories)]
    held = []
    for name, administers, worker, ends in asked:
        if held and ends < 3:
            for each in held.pop(ends % len(held)):
                each.close()
        mine, theirs = contextlib.ExitStack(), contextlib.ExitStack()
        found = mine.enter_context(one.place(name, administers=administers))
        assert theirs.enter_context(both[worker].place(name, administers=administers)) == found
        held.append((mine, theirs))
        assert both[0].taken == both[1].taken == one.taken
    for pair in held:
        for each in pair:
            each.close()
    assert both[0].taken == 0


def test_what_a_worker_had_that_is_gone_is_given_back(tmp_path):
    memories = opened(tmp_path / "limits")
    shares = [SharedShares(PLACES, memory, number) for number, memory in enumerate(memories)]
    memories[0].left[:] = 0
    leftovers = [Leftovers(memory, number) for number, memory in enumerate(memories)]
    with shares[0].place("a"), contextlib.ExitStack() as gone:
        gone.enter_context(shares[1].place("a"))
        gone.enter_context(leftovers[1].of_change(deletes=False))
        never_left = gone.pop_all()
        assert (shares[0].taken, leftovers[0].images) == (2, False)
        memories[0].release(1)
        assert (shares[0].taken, leftovers[0].images, leftovers[0].traces) == (1, True, True)
    assert never_left is not None


def test_a_change_leaves_what_it_deletes_and_anything_where_it_fails(tmp_path):
    left = Leftovers(SharedMemory.create(tmp_path / "limits", PLACES), 3)
    left.images = left.traces = False
    with left.of_change(deletes=False):
        pass
    assert (left.images, left.traces) == (False, False)
    with left.of_change(deletes=True):
        pass
    assert (left.images, left.traces) == (False, True)
    with pytest.raises(OSError), left.of_change(deletes=False):
        raise OSError
    assert (left.images, left.traces) == (True, True)


ASKING = """
import sys, time
from pathlib import Path
from crossreid.service.rate_limits import SharedTokenBuckets
from crossreid.service.shared_memory import SharedMemory
buckets = SharedTokenBuckets(SharedMemory(Path(sys.argv[1]), 32))
print("ready", flush=True)
sys.stdin.readline()
print(sum(buckets.wait("a key", 1e-6, 500) == 0 for _ in range(400)))
"""

HOLDING = """
import sys, time
from pathlib import Path
from crossreid.service.shared_memory import SharedMemory
with SharedMemory(Path(sys.argv[1]), 32).locked():
    print("ready", flush=True)
    time.sleep(60)
"""


def test_processes_that_ask_at_once_get_one_buckets_tokens_and_no_more(tmp_path):
    SharedMemory.create(tmp_path / "limits", PLACES)
    asking = [started(ASKING, tmp_path / "limits") for _ in range(3)]
    for process in asking:
        assert process.stdout.readline() == "ready\n"
    for process in asking:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in asking) == 500


def test_a_process_that_is_killed_while_it_counts_keeps_nobody_waiting(tmp_path):
    memory = SharedMemory.create(tmp_path / "limits", PLACES)
    process = started(HOLDING, tmp_path / "limits")
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    began = time.monotonic()
    assert SharedTokenBuckets(memory).wait("a", 1, 1) == 0
    assert time.monotonic() - began < 5


def test_names_of_one_set_forget_the_one_longest_unheard_of(tmp_path, monkeypatch):
    monkeypatch.setattr(rate_limits, "number_of", lambda name: 7 + rate_limits.SETS * int(name))
    buckets = SharedTokenBuckets(SharedMemory.create(tmp_path / "limits", PLACES))
    assert [buckets.wait(str(name), 1e-6, 1) == 0 for name in range(9)] == [True] * 9
    assert [buckets.wait(str(name), 1e-6, 1) == 0 for name in (8, 1, 0)] == [False, False, True]
