"""Squared distances of listed pairs of rows on CPUs, compiled: each row is read in place and widened while reading."""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def"
# (numba infers the types of each call; annotations would not be used)
from crossreid.evaluation.compiled import compiled


# Sums may be taken in any order, to allow several per instruction; the order is the same for every pair.
@compiled(fastmath={"reassoc", "contract"})
def squared_distances(rows, scale, left, right, found):
    """Fill `found` `(n,)` float64 with |s_l x_l - s_r x_r|^2 of rows `(N, D)` and scale `(N,)`, or (0,) for 1."""
    for pair in range(len(left)):
        one, other = rows[left[pair]], rows[right[pair]]
        total = 0.0
        if len(scale) > 0:
            ours, theirs = scale[left[pair]], scale[right[pair]]
            for i in range(len(one)):
                apart = float(one[i]) * ours - float(other[i]) * theirs
                total += apart * apart
        else:
            for i in range(len(one)):
                apart = float(one[i]) - float(other[i])
                total += apart * apart
        found[pair] = total
