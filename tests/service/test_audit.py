import json
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from crossreid.service.audit import Audit


def test_lines_of_many_threads_are_whole_and_only_the_owner_reads_them(tmp_path):
    audit = Audit(tmp_path / "audit")

    def write(number):
        for line in range(50):
            audit.write("search", {"number": number, "line": line, "text": "é\n" * 200})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.close()
    (path,) = (tmp_path / "audit").iterdir()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["number"], line["line"]) for line in lines) == [(n, i) for n in range(8) for i in range(50)]
    assert path.stat().st_mode & 0o777 == 0o600
    written = datetime.fromisoformat(lines[0]["time"])
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert path.stem == f"audit-{written.date().isoformat()}"


def test_a_log_that_was_closed_goes_on(tmp_path):
    for _ in range(2):
        audit = Audit(tmp_path)
        audit.write("search", {})
        audit.close()
        audit.write("search", {})
        audit.close()
    (path,) = tmp_path.iterdir()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_days_whose_time_is_over_are_deleted_and_nothing_else(tmp_path):
    audit = Audit(tmp_path)
    today = datetime.now(UTC).date()
    for days in (0, 6, 7, 8, 400):
        (tmp_path / f"audit-{(today - timedelta(days=days)).isoformat()}.jsonl").touch()
    others = ["audit-yesterday.jsonl", "notes.txt", "audit-2020-01-01.txt"]
    for name in others:
        (tmp_path / name).touch()
    assert audit.forget(7) == 2
    left = {path.name for path in tmp_path.iterdir()} - set(others)
    assert {today - date.fromisoformat(name[6:16]) for name in left} == {timedelta(days=n) for n in (0, 6, 7)}
    assert all((tmp_path / name).exists() for name in others)


def test_a_line_that_did_not_fit_leaves_nothing_and_the_next_is_one_of_its_own(tmp_path):
    """A real limit of the system on a file's size, in a process of its own, as it cannot be taken back."""
    script = """
import resource, signal, sys
from pathlib import Path
from crossreid.service.audit import Audit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
audit = Audit(Path(sys.argv[1]))
audit.write("one", {})
size = next(audit.folder.iterdir()).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
try:
    audit.write("two", {})
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
audit.write("three", {})
"""
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=120, check=True
    )
    assert "took 20 of" in run.stdout
    (path,) = tmp_path.iterdir()
    assert [json.loads(line)["action"] for line in path.read_text(encoding="utf-8").splitlines()] == ["one", "three"]


def test_a_file_that_was_renamed_or_deleted_is_begun_anew(tmp_path):
    audit = Audit(tmp_path)
    audit.write("one", {})
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "rotated")
    audit.write("two", {})
    assert '"two"' in path.read_text(encoding="utf-8")
    assert '"two"' not in (tmp_path / "rotated").read_text(encoding="utf-8")
    path.unlink()
    audit.write("three", {})
    assert path.read_text(encoding="utf-8").count("\n") == 1


def test_a_full_disk_is_an_error_and_no_silence(tmp_path):
    audit = Audit(tmp_path)
    audit._file, audit._day = open("/dev/full", "wb", buffering=0).fileno(), datetime.now(UTC).date()  # noqa: SIM115
    with pytest.raises(OSError):
        audit.write("search", {})
