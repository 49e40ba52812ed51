"""What workers on one machine do one after the other, and what one of them does for all. Real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from crossreid.errors import CrossreidError
from crossreid.files import unlock
from crossreid.service.audit import Audit
from crossreid.service.siblings import SharingSiblings, lock_state, prepare

AMONG = """
import sys, time
from pathlib import Path
from crossreid.service.siblings import SharingSiblings
siblings = SharingSiblings(Path(sys.argv[1]), 32, 1, 2)
"""
WRITING = """
import sys
from pathlib import Path
from crossreid.service.audit import Audit
audit = Audit(Path(sys.argv[1]))
sys.stdin.readline()
for line in range(300):
    audit.write("search", {"process": sys.argv[2], "line": line, "text": "x" * (line * 37 % 9000)})
"""


@pytest.fixture
def state(tmp_path):
    prepare(tmp_path, 32)
    return tmp_path


def other(state, does):
    """Another worker, which tells when it does something, and does it until it is killed."""
    script = AMONG + does + "\nprint('ready', flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def killed(process):
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def free(locks, *bytes_):
    """Whether each lock is free, asked without waiting."""
    import fcntl

    found = []
    for byte in bytes_:
        try:
            fcntl.lockf(locks._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            fcntl.lockf(locks._file, fcntl.LOCK_UN, 1, byte)
            found.append(True)
        except OSError:
            found.append(False)
    return found


def test_housekeeping_is_one_workers_and_anothers_when_that_dies(state):
    process = other(state, "assert siblings.keeps_house()")
    mine = SharingSiblings(state, 32, 0, 2)
    assert not mine.keeps_house()
    killed(process)
    assert mine.keeps_house()
    assert mine.keeps_house()
    mine.close()


def test_entries_of_one_id_are_changed_by_one_worker_and_others_meanwhile(state):
    from crossreid.service import siblings
    from crossreid.service.shared_memory import number_of

    process = other(state, "held = siblings.changing(['an id', 'another'])\nheld.__enter__()")
    mine = SharingSiblings(state, 32, 0, 2)
    stripes = [number_of(id) % siblings._STRIPES for id in ("an id", "another", "a third")]
    assert free(mine._locks, *stripes, siblings._CHANGES, siblings._GATE) == [False, False, True, False, True]
    with mine.changing(["a third"]):
        pass
    killed(process)
    with mine.changing(["an id"]), mine.correcting():
        pass
    with mine.sorting_out():
        assert free(mine._locks, *stripes) == [True] * 3


def test_lines_of_many_processes_are_whole(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITING, tmp_path, str(number)], stdin=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    (path,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted((int(line["process"]), line["line"]) for line in lines) == [
        (n, i) for n in range(4) for i in range(300)
    ]


def test_a_line_that_a_killed_process_began_does_not_spoil_the_next(tmp_path):
    audit = Audit(tmp_path)
    audit.write("one", {})
    (path,) = tmp_path.iterdir()
    with path.open("ab") as stream:
        stream.write(b'{"time": "2026')
    audit.write("two", {})
    one, half, two = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["action"] for line in (one, two)] == ["one", "two"]
    assert half == '{"time": "2026'


def test_a_folder_of_state_is_one_services(tmp_path):
    held = lock_state(tmp_path)
    with pytest.raises(CrossreidError, match="another service keeps its state"):
        lock_state(tmp_path)
    unlock(held)
