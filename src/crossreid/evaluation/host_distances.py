"""Distances between embeddings on the CPU by NumPy, as `crossreid.evaluation.distances` in torch, which takes longer to
load than a small gallery takes to rank. Equal embeddings get equal distances here too, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.threads import in_threads

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[str, ...] = get_args(Metric)


def finite_rows(embeddings: np.ndarray, what: str = "embeddings") -> np.ndarray:
    """Return `(N, D)` finite float32 or float64; half precision and integers are widened.

    Raises `CrossreidError` naming `what` and the first bad row: wrong number of axes, no rows, no columns, NaN,
    infinity.
    """
    rows = number_rows(embeddings, what)
    refuse_non_finite_rows(rows, what)
    return rows


def number_rows(embeddings: np.ndarray, what: str) -> np.ndarray:
    """As `finite_rows`, without checking the values."""
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
    return rows


def refuse_non_finite_rows(rows: np.ndarray, what: str) -> None:
    """Raise `CrossreidError` naming `what` and the first row with NaN or infinity."""
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~np.isfinite(
            rows.min(axis=1) - rows.max(axis=1)
        )  # NaN propagates; this needs no mask of the embeddings' size
    bad[bad] = ~np.isfinite(rows[bad]).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        kind = "NaN" if np.isnan(rows[row]).any() else "an infinite value"
        raise CrossreidError(
            f"{what}: {kind} in row {row} ({int(bad.sum())} of {len(rows)} rows are affected); embed it again."
        )


def host_distance_blocks(
    query: np.ndarray, gallery: np.ndarray, metric: str = "euclidean", *, rows: int | None = None, few: bool = False
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield `(rows of the query, their distances (rows, G))` of finite query `(Q, D)` and gallery `(G, D)` of one
    precision.

    A block is valid until the next one is requested. With `few`, no compiled code is loaded.
    Raises `CrossreidError` for an unknown metric and zero rows under cosine.
    """
    query, gallery = _compared(query, gallery, metric)
    ours, theirs = squared_lengths(query), squared_lengths(gallery)
    finish = _finish if few else _finish_compiled
    yield from _products(query, gallery, rows, lambda at, found: finish(found, metric, ours[at], theirs))


def host_order_blocks(
    query: np.ndarray, gallery: np.ndarray, metric: str = "euclidean"
) -> Iterator[tuple[slice, np.ndarray]]:
    """As `host_distance_blocks`, with numbers that merely order the gallery of each query as its distances do.

    They are -q.g of unit vectors under cosine and |g|^2 / 2 - q.g otherwise. Rows need not be finite: all numbers of
    one that is not are NaN or infinite.
    """
    from crossreid.evaluation.distance_kernel import finish_order

    query, gallery = _compared(query, gallery, metric)
    halves = np.zeros(len(gallery), gallery.dtype) if metric == "cosine" else squared_lengths(gallery) / 2

    def finish(at: slice, found: np.ndarray) -> None:
        in_threads(lambda rows: finish_order(found[rows], halves), len(found), work=found.size)

    yield from _products(query, gallery, None, finish)


def refuse_unknown(metric: str) -> None:
    """Raise `CrossreidError` for an unknown metric."""
    if metric not in METRICS:
        raise CrossreidError(f"unknown metric '{metric}'; choose one of: {', '.join(METRICS)}.")


def refuse_other_dimensions(query: int, gallery: int) -> None:
    """Raise `CrossreidError` if the two sides have different dimensions."""
    if query != gallery:
        raise CrossreidError(
            f"query embeddings have {query} dimensions and gallery embeddings {gallery}; embed both with the same model."
        )


def _compared(query: np.ndarray, gallery: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    refuse_unknown(metric)
    refuse_other_dimensions(query.shape[1], gallery.shape[1])
    dtype = np.promote_types(query.dtype, gallery.dtype)
    query, gallery = query.astype(dtype, copy=False), gallery.astype(dtype, copy=False)
    if metric == "cosine":
        return _unit(query, "query embeddings"), _unit(gallery, "gallery embeddings")
    return query, gallery


def _products(
    query: np.ndarray, gallery: np.ndarray, rows: int | None, finish: Callable[[slice, np.ndarray], None]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of q.g, finished in place; equal rows of the gallery get equal columns."""
    copies, originals = repeated_rows(gallery)
    # At least 64 rows, else reading the gallery costs more than multiplying.
    step = min(len(query), rows or max(64, (1 << 24) // len(gallery)))
    room = np.empty((step, len(gallery)), query.dtype)  # reused, because new memory has to be cleared
    for start in range(0, len(query), step):
        at = slice(start, min(start + step, len(query)))
        found = room[: at.stop - start]
        np.matmul(query[at], gallery.T, out=found)
        finish(at, found)
        if len(copies):
            found[:, copies] = found[:, originals]
        yield at, found


def _finish_compiled(found: np.ndarray, metric: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    from crossreid.evaluation.distance_kernel import finish_cosine, finish_euclidean

    def part(rows: slice) -> None:
        if metric == "cosine":
            finish_cosine(found[rows])
        else:
            finish_euclidean(found[rows], ours[rows], theirs)

    in_threads(part, len(found), work=found.size)


def _finish(found: np.ndarray, metric: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """As `_finish_compiled`, in NumPy, with the same rounding."""
    if metric == "cosine":
        np.subtract(1, found, out=found)
        return
    found *= -2
    found += theirs
    found += ours[:, None]
    np.maximum(found, 0, out=found)
    np.sqrt(found, out=found)


def squared_lengths(rows: np.ndarray) -> np.ndarray:
    """Return the squared length of each row, `(N,)`."""
    return np.einsum("nd,nd->n", rows, rows)


def _unit(rows: np.ndarray, what: str) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if (lengths == 0).any():
        row = int(np.argmin(lengths))
        raise CrossreidError(f"{what}: row {row} is all zeros and has no cosine distance; use the euclidean metric.")
    with np.errstate(invalid="ignore"):  # for rows that are not finite
        return np.asarray(rows / lengths)


def repeated_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of rows that equal an earlier row, and of the first row that each equals."""
    suspects = np.arange(len(rows))
    columns = np.linspace(0, rows.shape[1] - 1, min(8, rows.shape[1])).astype(np.int64)
    for chosen in (columns, slice(None)):  # a few columns distinguish nearly all rows; all columns the rest
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
