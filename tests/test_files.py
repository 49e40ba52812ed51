"""Files that are whole or not there, damaged JSON, and KEY=VALUE."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.errors import CrossreidError
from crossreid.files import (
    json_rows,
    key_value,
    key_values,
    read_json,
    remove_leftovers,
    replacing,
    temporary_name,
    write_durably,
    write_json,
    write_text,
)


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
    with pytest.raises(CrossreidError, match=r"x\.json is damaged: it is no JSON"):
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
