"""Cosines against NumPy's, and rows that are no numbers."""

import numpy as np
import pytest

from crossreid.inference.exporting.precision.fidelity import cosine_of_rows
from crossreid.inference.exporting.precision.fingerprints import fingerprint_in


def test_cosines_of_rows_one_by_one():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 5, 7))
    expected = [a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for a, b in zip(one, other, strict=True)]
    assert cosine_of_rows(one, other) == pytest.approx(expected)
    assert cosine_of_rows(one, 3 * one) == pytest.approx(1)
    other[0], other[1] = np.inf, 0
    assert cosine_of_rows(one, other)[:2].tolist() == [-1, -1]


def test_only_int8_has_a_fingerprint_of_its_own():
    base, graph = "a" * 64, "b" * 64
    assert fingerprint_in("fp16", base, graph) == fingerprint_in("float32", base, graph) == base
    own = fingerprint_in("int8", base, graph)
    assert len(own) == 64
    assert len({base, own, fingerprint_in("int8", base, "c" * 64), fingerprint_in("int8", "c" * 64, graph)}) == 4
