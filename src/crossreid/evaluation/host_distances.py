"""Distances between embeddings on the CPU by NumPy: what `crossreid.evaluation.distances` does in torch, which takes longer to load
than a small gallery to rank. Embeddings that are equal get equal distances here too, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.threads import in_threads

METRICS = ("euclidean", "cosine")


def finite_rows(embeddings: np.ndarray, what: str = "embeddings") -> np.ndarray:
    """`(N, D)` finite float32 or float64; half precision and integers are widened.

    Raises `CrossreidError` that names `what` and the first bad row: wrong number of axes, no rows, no columns, NaN,
    infinity.
    """
    rows = np.ascontiguousarray(embeddings)
    if np.ndim(embeddings) != 2:
        raise CrossreidError(f"{what}: expected an array (N, D), found shape {np.shape(embeddings)}.")
    if 0 in rows.shape:
        raise CrossreidError(f"{what}: expected at least one row and one column, found shape {rows.shape}.")
    if rows.dtype not in (np.float32, np.float64):
        if rows.dtype.kind not in "fiub":
            raise TypeError(f"{what}: expected numbers, found {rows.dtype}")
        rows = rows.astype(np.float32 if rows.dtype == np.float16 else np.float64)
    if rows.dtype.byteorder not in ("=", "|"):
        rows = rows.astype(rows.dtype.newbyteorder("="))
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~np.isfinite(
            rows.min(axis=1) - rows.max(axis=1)
        )  # NaN spreads; no mask of the size of the embeddings is made
    bad[bad] = ~np.isfinite(rows[bad]).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        kind = "NaN" if np.isnan(rows[row]).any() else "an infinite value"
        raise CrossreidError(
            f"{what}: {kind} in row {row} ({int(bad.sum())} such rows of {len(rows)}); embed it again."
        )
    return rows


def host_distance_blocks(
    query: np.ndarray, gallery: np.ndarray, metric: str = "euclidean", *, rows: int | None = None, few: bool = False
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield `(rows of the query, their distances (rows, G))` of finite query `(Q, D)` and gallery `(G, D)` of one precision.

    A block holds until the next is asked for. With `few`, no compiled code is loaded for them. Raises `CrossreidError` for an unknown metric and zero rows under cosine.
    """
    if metric not in METRICS:
        raise CrossreidError(f"unknown metric '{metric}'; choose one of: {', '.join(METRICS)}.")
    if metric == "cosine":
        query, gallery = _unit(query, "query embeddings"), _unit(gallery, "gallery embeddings")
    finish_rows = _finish if few else _finish_compiled
    copies, originals = repeated_rows(gallery)
    ours, theirs = squared_lengths(query), squared_lengths(gallery)
    step = rows or max(64, (1 << 24) // len(gallery))
    room = np.empty((min(step, len(query)), len(gallery)), query.dtype)
    for start in range(0, len(query), step):
        block = query[start : start + step]
        found = room[: len(block)]
        np.matmul(block, gallery.T, out=found)
        at = slice(start, start + len(block))

        finish_rows(found, None if metric == "cosine" else ours[at], theirs)
        if len(copies):
            found[:, copies] = found[:, originals]
        yield at, found


def _finish_compiled(found: np.ndarray, ours: np.ndarray | None, theirs: np.ndarray) -> None:
    from crossreid.evaluation.distance_kernel import finish_cosine, finish_euclidean

    def finish(part: slice) -> None:
        if ours is None:
            finish_cosine(found[part])
        else:
            finish_euclidean(found[part], ours[part], theirs)

    in_threads(finish, len(found), work=found.size)


def _finish(found: np.ndarray, ours: np.ndarray | None, theirs: np.ndarray) -> None:
    """The same, with the same rounding."""
    if ours is None:
        np.subtract(1, found, out=found)
        return
    found *= -2
    found += theirs
    found += ours[:, None]
    np.maximum(found, 0, out=found)
    np.sqrt(found, out=found)


def squared_lengths(rows: np.ndarray) -> np.ndarray:
    """`(N,)`: the squared length of each row."""
    return np.einsum("nd,nd->n", rows, rows)


def _unit(rows: np.ndarray, what: str) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if (lengths == 0).any():
        row = int(np.argmin(lengths))
        raise CrossreidError(f"{what}: row {row} is all zeros, and has no cosine distance; use the euclidean metric.")
    return np.asarray(rows / lengths)


def repeated_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of rows that equal an earlier row, and of the first row that each equals."""
    suspects = np.arange(len(rows))
    columns = np.linspace(0, rows.shape[1] - 1, min(8, rows.shape[1])).astype(np.int64)
    for chosen in (columns, slice(None)):  # a few numbers tell nearly all apart; all numbers those that they do not
        if not len(suspects):
            return suspects, suspects
        # An integer sum wraps but does not round, so equal rows have equal sums whatever the order of summation.
        bits = np.ascontiguousarray(rows[suspects][:, chosen] + rows.dtype.type(0)).view(f"u{rows.dtype.itemsize}")
        sums = bits.astype(np.uint64) @ np.arange(1, 2 * bits.shape[1], 2, dtype=np.uint64)
        _, group, counts = np.unique(sums, return_inverse=True, return_counts=True)
        suspects = suspects[counts[group.reshape(-1)] > 1]
    if not len(suspects):
        return suspects, suspects
    _, first, kind = np.unique(rows[suspects] + rows.dtype.type(0), axis=0, return_index=True, return_inverse=True)
    originals = suspects[first[kind.reshape(-1)]]
    again = originals < suspects
    return suspects[again], originals[again]
