"""Cosine similarity, as galleries return it, and how far from it a product in float32 may be."""

from __future__ import annotations

import numpy as np


def cosine_similarities(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine similarities `(n,)` float64 of one query `(D,)` and vectors `(n, D)`: the same bits for the same vector.

    A sum of each row for itself: a matrix product may round two equal rows differently, and a tie must stay a tie.
    """
    left, right = query.astype(np.float64), vectors.astype(np.float64)
    lengths = np.sqrt(np.square(right).sum(axis=1) * np.square(left).sum())
    return np.clip((right * left).sum(axis=1) / lengths, -1.0, 1.0)


def rounding(dimension: int) -> float:
    """How far an inner product of unit vectors in float32 can be from the truth."""
    return dimension * 2.0**-23
