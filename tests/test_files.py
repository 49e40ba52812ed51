"""Files that are whole or not there, damaged JSON, and KEY=VALUE."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.errors import CrossreidError
from crossreid.files import (
    Held,
    NoSpace,
    json_rows,
    key_value,
    key_values,
    lock,
    read_json,
    remove_leftovers,
    remove_leftovers_in,
    replacing,
    sha256_of,
    short_digest,
    temporary_name,
    unlock,
    write_durably,
    write_json,
    write_text,
    writing,
)
from full_disk import files_of_at_most


def half_written(path, *, folder=False):
    with replacing(path) as temporary:
        if folder:
            temporary.mkdir()
        (temporary / "x" if folder else temporary).write_text("half")
        raise ZeroDivisionError


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "x.txt"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError):
        half_written(path)
    assert path.read_text() == "first"
    with replacing(path, durable=True) as temporary:
        temporary.write_text("second")
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
    assert path.read_text() == "second"
    assert [found.name for found in path.parent.iterdir()] == ["x.txt"]


def test_so_is_a_folder(tmp_path):
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("x")
    assert (tmp_path / "folder" / "x").read_text() == "x"
    with pytest.raises(ZeroDivisionError):
        half_written(tmp_path / "other", folder=True)
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "[x]*.bin"
    script = (
        "import os, sys, pathlib; from crossreid.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".{path.name}.")
    kept = [
        temporary_name(path),
        tmp_path / "x.bin",
        tmp_path / f".{path.name}.mine.tmp.bin",
        tmp_path / ".y.bin.1.tmp.bin",
    ]
    for other in kept:
        other.write_text("kept")
    remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_private_file_is_its_owners_alone(tmp_path):
    before = os.umask(0o022)
    try:
        write_durably(tmp_path / "private", [b"a", b"b"], private=True)
        write_durably(tmp_path / "public", [b"ab"])
    finally:
        os.umask(before)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "public").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "private").read_bytes() == b"ab"


def test_json_takes_numpy_and_comes_back(tmp_path):
    write_json(tmp_path / "x.json", {"a": np.float64(0.5), "b": np.arange(2)})
    assert read_json(tmp_path / "x.json") == {"a": 0.5, "b": [0, 1]}
    with pytest.raises(TypeError, match="cannot write object"):
        write_json(tmp_path / "y.json", {"a": object()})
    assert not (tmp_path / "y.json").exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[" * 100_000])
def test_damaged_json_is_named(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CrossreidError, match=r"x\.json is damaged: it is not valid JSON"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(b"[1]")
    with pytest.raises(CrossreidError, match="expected a JSON object, found list"):
        read_json(tmp_path / "x.json")
    assert read_json(tmp_path / "x.json", list) == [1]


@given(st.lists(st.one_of(st.just(b'{"step": 1}'), st.sampled_from([b"null", b"5", b"[1]", b"\xff", b'{"step"', b""]))))
def test_lines_that_hold_no_object_are_left_out(lines):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(lines))
        assert json_rows(path) == [{"step": 1}] * lines.count(b'{"step": 1}')


@given(st.text(st.characters(exclude_characters="=", exclude_categories=["Z", "C"]), min_size=1), st.text())
def test_a_pair_is_taken_apart_at_the_first_sign(key, value):
    assert key_value(f"{key}={value}", "--set") == (key, value)


@pytest.mark.parametrize("text", ["", "key", "=value", " =value"])
def test_what_is_no_pair_is_refused_with_what_was_expected(text):
    with pytest.raises(CrossreidError, match=r"--title .*: expected NAME=TEXT"):
        key_value(text, "--title", "NAME=TEXT")


def test_pairs_of_an_option_that_is_given_several_times_or_not_at_all():
    assert key_values(["a=1", "b=2", "a=3"], "--option") == {"a": "3", "b": "2"}
    assert key_values(None, "--option") == {}
    with pytest.raises(CrossreidError, match=r"--option 'b': expected KEY=VALUE"):
        key_values(["a=1", "b"], "--option")


def test_what_killed_processes_left_in_a_folder_goes_and_what_runs_keeps_its_own(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [f".x.json.{gone.pid}.tmp.json", f".plain.{gone.pid}.tmp", f".last.bin.{os.getpid()}.tmp.bin"]
    kept = [f".x.json.{os.getpid()}.tmp.json", ".x.tmp.json", "x.1.tmp", f".x.{gone.pid}.part"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("x")
    remove_leftovers_in(tmp_path, own=("last.bin",))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_full_disk_is_named_by_the_file_that_was_to_be_written(tmp_path):
    write_text(tmp_path / "x.txt", "old")
    with (
        files_of_at_most(1000),
        pytest.raises(NoSpace, match=r"x\.txt cannot be written: file too large.*Free some space") as found,
    ):
        write_text(tmp_path / "x.txt", "new" * 1000)
    assert isinstance(found.value, CrossreidError)
    assert isinstance(found.value, OSError)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with (
        pytest.raises(NoSpace, match="no space left on device"),
        writing(tmp_path / "y"),
        open("/dev/full", "w") as full,
    ):
        full.write("x")


def test_other_errors_of_the_system_are_given_the_name_that_they_lack(tmp_path):
    with pytest.raises(OSError, match=r"Input/output error.*y") as found, writing(tmp_path / "y"):
        raise OSError(errno.EIO, "Input/output error")
    assert found.value.filename == str(tmp_path / "y")
    with pytest.raises(PermissionError, match="elsewhere"), writing(tmp_path / "y"):
        raise PermissionError(errno.EACCES, "Permission denied", "elsewhere")
    with pytest.raises(OSError, match=r"^half a picture$"), writing(tmp_path / "y"):
        raise OSError("half a picture")


def test_a_lock_is_held_once_and_says_by_whom(tmp_path):
    held = lock(tmp_path / "x")
    with pytest.raises(Held, match=rf"process {os.getpid()} on .* since .* UTC"):
        lock(tmp_path / "x")
    unlock(held)
    assert (tmp_path / "x").read_text() == ""
    again = lock(tmp_path / "x")
    unlock(again, remove=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_children_have_no_part_in_a_lock(tmp_path):
    """They neither keep it, where they outlive a killed parent, nor give it back, where they end before it."""
    held = lock(tmp_path / "x")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=unlock, args=(held,))
    child.start()
    child.join()
    with pytest.raises(Held):
        lock(tmp_path / "x")
    lasting = context.Process(target=signal.pause)
    lasting.start()
    try:
        unlock(held)
        unlock(lock(tmp_path / "x"))
    finally:
        lasting.kill()
        lasting.join()


def test_a_lock_of_a_killed_process_holds_nobody(tmp_path):
    script = "import os, sys, pathlib; from crossreid.files import lock; lock(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "x")], check=False)
    assert (tmp_path / "x").read_text().startswith("process ")
    unlock(lock(tmp_path / "x"))


def test_a_lock_whose_file_its_last_holder_removed_just_now_is_taken_anew(tmp_path, monkeypatch):
    real, path = fcntl.flock, tmp_path / "x"
    path.write_text("")

    def removed_before(descriptor, what):
        monkeypatch.undo()
        path.unlink()
        real(descriptor, what)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    held = lock(path)
    with pytest.raises(Held):
        lock(path)
    unlock(held)


def test_a_files_digest_is_that_of_its_content(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 5000)  # more than one piece
    assert sha256_of(tmp_path / "file") == hashlib.sha256(bytes(range(256)) * 5000).hexdigest()


def test_a_short_digest_is_of_values_and_not_of_their_order():
    assert short_digest({"a": 1, "b": [2]}) == short_digest({"b": [2], "a": 1})
    assert short_digest({"a": 1}) != short_digest({"a": 2})
    assert len(short_digest({})) == 8
