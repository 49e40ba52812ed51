import random
import struct
import warnings

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crossreid.data.mat_elements import HEADER, variables
from crossreid.data.matfile import read_variable
from crossreid.data.records import DataError
from forked import Forked


def written(folder, compressed=False, **values):
    savemat(folder / "x.mat", values, do_compression=compressed)
    return folder / "x.mat"


def cells():
    inner = np.empty((2, 3), dtype=object)
    for at in np.ndindex(inner.shape):
        inner[at] = np.arange(sum(at), dtype=np.uint8)[None]
    outer = np.empty((2, 1), dtype=object)
    outer[:, 0] = [inner, np.ones((2, 2))]
    return outer


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_whole_is_read_as_scipy_reads_it(tmp_path, compressed):
    numbers = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in ("f8", "f4", "i2", "u1", "i8", "c16", "bool")}
    path = written(tmp_path, compressed, words="text", **numbers, none=np.empty((0, 5)), cells=cells())
    expected = loadmat(path)
    for name in (*numbers, "none"):
        found = read_variable(path, name)
        assert found.dtype == expected[name].dtype
        np.testing.assert_array_equal(found, expected[name])
    found = read_variable(path, "cells")
    assert (found.shape, found[0, 0].shape) == ((2, 1), (2, 3))
    np.testing.assert_array_equal(found[0, 0][1, 2], [[0, 1, 2]])
    assert read_variable(written(tmp_path, compressed, only=np.eye(2))).shape == (2, 2)
    assert read_variable(written(tmp_path, compressed, words="text")) == ["text"]
    with pytest.raises(DataError, match="holds a structure, expected numbers, text or cells of these"):
        read_variable(written(tmp_path, compressed, x={"a": 1}), "x")


def read_flips(path, positions):
    whole = path.read_bytes()
    warnings.simplefilter("ignore")
    for position, bits in positions:
        content = bytearray(whole)
        content[position] ^= bits
        path.write_bytes(content)
        try:
            read_variable(path, "feature", "ids")
        except DataError as error:
            print("refused" if "x.mat" in str(error) else f"nameless: {error}")
        else:
            print("read")


def test_no_flipped_byte_ends_the_process(tmp_path):
    """Of files that are not compressed, where nothing gives a flip away; SciPy by itself dies of some of these."""
    path = written(tmp_path, feature=cells(), ids=np.arange(4))
    moments = random.Random(0)
    flips = [(position, 0x5A) for position in range(120, path.stat().st_size)]
    flips += [(moments.randrange(path.stat().st_size), 1 << moments.randrange(8)) for _ in range(200)]
    reader = Forked(read_flips, path, flips, log=tmp_path / "log")
    assert reader.wait() == 0, (tmp_path / "log").read_text()[-500:]
    outcomes = (tmp_path / "log").read_text().split()
    assert outcomes.count("refused") + outcomes.count("read") == len(outcomes) == len(flips)
    assert min(outcomes.count("refused"), outcomes.count("read")) > 200


def test_a_type_that_there_is_not_is_refused_before_scipy_looks_beyond_its_table(tmp_path):
    path = written(tmp_path, ids=np.arange(4.0))
    content = path.read_bytes()
    at = content.index(struct.pack("<II", 9, 32))
    path.write_bytes(content[:at] + struct.pack("<I", 0x7FFF) + content[at + 4 :])
    with pytest.raises(DataError, match=r"x\.mat cannot be read .*32 bytes of type 32,?767 for 4 numbers"):
        read_variable(path, "ids")


def test_cells_in_cells_without_end_are_refused(tmp_path):
    flags, dimensions, name = struct.pack("<4I", 6, 8, 1, 0), struct.pack("<2I2i", 5, 8, 1, 1), struct.pack("<2I", 1, 0)
    element = struct.pack("<2I", 14, 0)
    for _ in range(20_000):
        content = flags + dimensions + name + element
        element = struct.pack("<2I", 14, len(content)) + content
        if len(element) > 200_000:
            break
    name = struct.pack("<2H4s", 1, 1, b"x\0\0\0")
    content = flags + dimensions + name + element
    header = written(tmp_path, x=np.eye(1)).read_bytes()[:HEADER]
    (tmp_path / "x.mat").write_bytes(header + struct.pack("<2I", 14, len(content)) + content)
    assert [variable.name for variable in variables((tmp_path / "x.mat").read_bytes())] == ["x"]
    with pytest.raises(DataError, match="nested more than 20 levels deep"):
        read_variable(tmp_path / "x.mat", "x")


def test_a_file_of_version_4_is_read(tmp_path):
    savemat(tmp_path / "x.mat", {"ids": np.arange(3.0)}, format="4")
    np.testing.assert_array_equal(read_variable(tmp_path / "x.mat", "ids"), [[0, 1, 2]])
