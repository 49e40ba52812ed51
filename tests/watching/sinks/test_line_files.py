import csv
import os
import signal
import time
from itertools import zip_longest

import pytest

from crossreid.errors import CrossreidError
from crossreid.files import json_rows
from crossreid.watching.events import Event
from crossreid.watching.sinks.csv_lines import COLUMNS, CsvLines
from crossreid.watching.sinks.delivery import catch_up
from crossreid.watching.sinks.json_lines import JsonLines
from crossreid.watching.sinks.sink import SinkFault
from forked import Forked
from kept_events import KeptEvents, event
from served import within

FORMS = [("events.jsonl", JsonLines), ("events.csv", CsvLines)]


def numbers(path):
    if path.suffix == ".jsonl":
        return [Event.from_json(line).number for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as stream:
        return [int(row["number"]) for row in csv.DictReader(stream)]


def caught_up(kind, path, outbox):
    file = kind(path)
    appended = [one.number for events in catch_up(file, outbox, 7) for one in events]
    file.close()
    return appended


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_every_event_is_there_once_wherever_the_last_line_was_torn(tmp_path, name, kind):
    path, outbox = tmp_path / name, KeptEvents(20)
    caught_up(kind, path, outbox)
    whole = path.read_bytes()
    assert numbers(path) == list(range(1, 21))
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in [*range(ends[-2] - 3, len(whole) + 1), 0, 1, ends[0] - 1, ends[0]]:
        path.write_bytes(whole[:size])
        caught_up(kind, path, outbox)
        assert path.read_bytes() == whole, size
    path.write_bytes(whole[: ends[-2]] + b"\0" * 5000)  # a length that reached the disk before its content did
    caught_up(kind, path, outbox)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_a_file_gets_what_it_lacks(tmp_path, name, kind):
    path, outbox = tmp_path / name, KeptEvents(9)
    assert caught_up(kind, path, outbox) == list(range(1, 10))
    whole = path.read_bytes()
    assert caught_up(kind, path, outbox) == []
    outbox.add()
    assert caught_up(kind, path, outbox) == [10]
    assert path.read_bytes().startswith(whole)
    whole = path.read_bytes()
    path.unlink()  # the disk lost it
    caught_up(kind, path, outbox)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_a_file_that_is_renamed_is_followed_by_one_with_what_comes_then(tmp_path, name, kind):
    path, outbox = tmp_path / name, KeptEvents(3)
    file = kind(path)
    for _ in catch_up(file, outbox):
        pass
    path.rename(tmp_path / f"old-{name}")
    outbox.add(2)
    for _ in catch_up(file, outbox):
        pass
    file.close()
    assert numbers(tmp_path / f"old-{name}") == [1, 2, 3]
    assert numbers(path) == [4, 5]
    outbox.add()
    assert caught_up(kind, path, outbox) == [6]


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_another_file_is_left_as_it_is(tmp_path, name, kind):
    path = tmp_path / name
    for content in (b"name,age\nx,3\n", b'{"a": 1}\n', b"\xff\xfe\n"):
        path.write_bytes(content)
        with pytest.raises(CrossreidError, match="not an event file"):
            kind(path)
        assert path.read_bytes() == content


def test_lines_hold_what_events_say(tmp_path):
    outbox = KeptEvents()
    outbox.add(2)
    outbox.add(kind="merged", other="g9", by="=cmd", probability=None)
    for name, kind in FORMS:
        caught_up(kind, tmp_path / name, outbox)
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Event.from_json(line) for line in lines] == outbox.all
    with (tmp_path / "events.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["name"] == '\'=Zoë "quoted", 1'
    assert (rows[2]["by"], rows[2]["camera"], rows[2]["probability"]) == ("'=cmd", "", "")
    assert [float(row["time"]) for row in rows] == [one.time for one in outbox.all]
    assert (tmp_path / "events.csv").stat().st_mode & 0o777 == 0o600


def test_a_disk_without_room_is_a_fault_and_leaves_no_half_line(tmp_path):
    import resource

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        file = JsonLines(tmp_path / "events.jsonl")
        file.send([event(number) for number in range(1, 4)])
        with pytest.raises(SinkFault, match=r"events\.jsonl"):
            file.send([event(number) for number in range(4, 40)])
        assert file.last == 3

    assert Forked(limited).wait() == 0
    assert len(json_rows(tmp_path / "events.jsonl")) == 3
    caught_up(JsonLines, tmp_path / "events.jsonl", KeptEvents(40))
    assert numbers(tmp_path / "events.jsonl") == list(range(1, 41))


def test_killed_at_any_moment_no_event_is_lost_and_none_is_there_twice(tmp_path):
    count, path, table = 4000, tmp_path / "events.jsonl", tmp_path / "events.csv"

    def write():
        outbox = KeptEvents(count)
        appending = [catch_up(file, outbox, 3) for file in (JsonLines(path), CsvLines(table))]
        for _ in zip_longest(*appending):
            pass

    kills = 0
    for size in range(100_000, 10_000_000, 150_000):
        process = Forked(write)
        assert within(
            lambda size=size, process=process: (
                process.poll() is not None or (path.exists() and path.stat().st_size > size)
            ),
            30,
        )
        time.sleep(0.001 * (kills % 5))
        if process.poll() is not None:
            break
        os.kill(process._process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.poll() == 0
    assert kills >= 3
    assert numbers(path) == numbers(table) == list(range(1, count + 1))
