import errno
import os

import numpy as np
import pytest

from crossreid.data import cache_files
from crossreid.data.cache_files import (
    NO_FILE,
    Row,
    State,
    gigabytes,
    mapped,
    read_pack,
    refuse_too_much,
    state_of,
    write_pack,
)
from crossreid.errors import CrossreidError
from crossreid.files import NoSpace

ROWS = (Row("a\0None", "/a", State(3, 5), True), Row("ä", "/ä", NO_FILE, False))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 3), dtype=np.uint8)


def written(path):
    def fill(temporary):
        mapped(temporary, 2, 5, 3, writable=True)[:] = PIXELS
        return ROWS

    return write_pack(path, 2, 5, 3, fill)


def test_what_is_written_is_read(tmp_path):
    pack = written(tmp_path / "x.images")
    assert read_pack(tmp_path / "x.images") == pack
    assert pack.rows == ROWS
    assert np.array_equal(pack.pixels(), PIXELS)
    assert os.listdir(tmp_path) == ["x.images"]


def test_a_file_that_is_cut_or_another_s_is_none(tmp_path, monkeypatch):
    path = tmp_path / "x.images"
    written(path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-1], whole[:50], whole[1:], whole.replace(b'"sizes"', b'"seizs"'), b"\0" * len(whole)):
        path.write_bytes(broken)
        assert read_pack(path) is None
    path.write_bytes(whole)
    assert read_pack(path) is not None
    monkeypatch.setattr(cache_files, "MADE_BY", "another version")
    assert read_pack(path) is None
    assert read_pack(tmp_path / "none.images") is None


def test_what_fails_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def fails(temporary):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "x.images", 2, 5, 3, fails)

    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoSpace, match=r"x\.images cannot be written: no space left on device"):
        written(tmp_path / "x.images")
    assert os.listdir(tmp_path) == []


def test_a_file_s_state_is_its_size_and_time(tmp_path):
    path = tmp_path / "x"
    assert state_of(str(path)) == NO_FILE
    path.write_bytes(b"abc")
    os.utime(path, ns=(1, 123_456_789))
    assert state_of(str(path)) == State(3, 123_456_789)


def test_sizes_are_said_in_words(monkeypatch):
    assert gigabytes(12_936, 256, 128) == "1.3 GB"
    assert gigabytes(100, 256, 128) == "10 MB"
    monkeypatch.setattr(cache_files, "memory_left", lambda: 1_000_000)
    with pytest.raises(
        CrossreidError, match=r"12,936 images of 256 x 128 take 1\.3 GB, but only 0\.0 GB .* Use data\.cache=disk"
    ):
        refuse_too_much(12_936, 256, 128)
    refuse_too_much(10, 100, 100)
