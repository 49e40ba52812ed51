"""Turn products of embeddings into distances in place, compiled: one pass over memory instead of one per operation."""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def"
# (numba infers the types of each call; annotations would not be used)
import math

from crossreid.evaluation.compiled import compiled


@compiled()
def finish_euclidean(found, ours, theirs):
    """q.g `(R, G)` becomes |q - g|, from the squared lengths `(R,)` and `(G,)`."""
    two, nothing = found.dtype.type(2), found.dtype.type(0)
    for i in range(len(found)):
        own = ours[i]
        row = found[i]
        for j in range(len(theirs)):
            row[j] = math.sqrt(max(theirs[j] - two * row[j] + own, nothing))


@compiled()
def finish_order(found, halves):
    """q.g `(R, G)` becomes |g|^2 / 2 - q.g, in the order of |q - g|; `halves` `(G,)`."""
    for row in found:
        for j in range(len(halves)):
            row[j] = halves[j] - row[j]


@compiled()
def finish_cosine(found):
    """q.g `(R, G)` of unit vectors becomes 1 - q.g."""
    for row in found:
        for j in range(len(row)):
            row[j] = found.dtype.type(1) - row[j]
