"""Cosine similarity as returned by galleries, and the error bound of a float32 product."""

from __future__ import annotations

import numpy as np


def cosine_similarities(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine similarities `(n,)` float64 of one query `(D,)` and vectors `(n, D)`, bit-identical for equal vectors.

    Each row is summed separately: a matrix product may round equal rows differently, and a tie must stay a tie.
    """
    left, right = query.astype(np.float64), vectors.astype(np.float64)
    lengths = np.sqrt(np.square(right).sum(axis=1) * np.square(left).sum())
    return np.clip((right * left).sum(axis=1) / lengths, -1.0, 1.0)


def rounding(dimension: int) -> float:
    """The largest error of an inner product of unit vectors in float32."""
    return dimension * 2.0**-23
