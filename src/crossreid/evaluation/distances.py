"""Distances between embeddings, one block of queries at a time, so that the whole matrix never exists at once.

Euclidean distance is |q - g|, computed as |q|^2 + |g|^2 - 2 q.g in the precision of the inputs; cosine distance is 1 -
q.g / (|q| |g|). Nothing else is normalised. Equal embeddings get equal distances, bit for bit: a matrix product may
round two equal columns differently, and a tie must stay a tie, to be broken by gallery order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.evaluation.host_distances import Metric as Metric
from crossreid.evaluation.host_distances import refuse_other_dimensions, refuse_unknown
from crossreid.evaluation.host_distances import squared_lengths as lengths_on_host

_BLOCK = 1 << 24  # distances per block by default; larger on accelerators, where each block costs launches
_DEVICE_BLOCK = 1 << 28


def as_embeddings(embeddings: np.ndarray | Tensor, what: str = "embeddings") -> Tensor:
    """Return an `(N, D)` finite float32 or float64 tensor on its own device; half precision and integers are widened.

    Raises `CrossreidError` naming `what` and the first bad row: wrong number of axes, no rows, no columns, NaN,
    infinity.
    """
    tensor = as_rows(embeddings, what)
    refuse_non_finite(tensor, what)
    return tensor


def as_rows(embeddings: np.ndarray | Tensor, what: str) -> Tensor:
    """As `as_embeddings`, without checking the values."""
    tensor = torch.from_numpy(np.ascontiguousarray(embeddings)) if isinstance(embeddings, np.ndarray) else embeddings
    tensor = tensor.detach()
    if tensor.ndim != 2:
        raise CrossreidError(f"{what}: expected an array (N, D), found shape {tuple(tensor.shape)}.")
    if 0 in tensor.shape:
        raise CrossreidError(f"{what}: expected at least one row and one column, found shape {tuple(tensor.shape)}.")
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float32 if tensor.is_floating_point() else torch.float64)
    return tensor


def refuse_non_finite(tensor: Tensor, what: str) -> None:
    """Raise `CrossreidError` naming `what` and the first row with NaN or infinity."""
    low, high = tensor.aminmax(dim=1)  # NaN propagates; this needs no mask of the embeddings' size
    bad = ~(low.isfinite() & high.isfinite())
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        kind = "NaN" if bool(tensor[row].isnan().any()) else "an infinite value"
        raise CrossreidError(
            f"{what}: {kind} in row {row} ({int(bad.sum())} of {len(tensor)} rows are affected); embed it again."
        )


def distance_blocks(
    query: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    metric: str = "euclidean",
    *,
    rows: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield `(rows of the query, their distances)`, the latter `(rows, G)` on the inputs' device.

    query `(Q, D)`, gallery `(G, D)`: both float32 or both float64, else both are widened. `rows` is the number of
    queries per block; by default blocks have about 16 million distances, and at least 64 queries.
    Raises `CrossreidError` for an unknown metric, different D, NaN, empty sets, and zero rows under cosine.
    """
    left, right = prepared(query, gallery, metric)
    copies, originals = repeated_rows(right)
    others = right.new_ones(len(right)) if metric == "cosine" else squared_lengths(right)
    for at, block in _blocks_of(left, len(right), rows):
        with full_precision():
            found = torch.addmm(others, block, right.T, alpha=-1 if metric == "cosine" else -2)
        if metric == "euclidean":
            found.add_(block.square().sum(dim=1, keepdim=True)).clamp_(min=0.0).sqrt_()
        if len(copies):
            found[:, copies] = found[:, originals]
        yield at, found


def order_blocks(
    query: np.ndarray | Tensor, gallery: np.ndarray | Tensor, metric: str = "euclidean", *, rows: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """As `distance_blocks`, but with numbers that merely order the gallery of each query as its distances do.

    They are -q.g of unit vectors under cosine and |g|^2 / 2 - q.g otherwise, from one matrix product. A row with NaN or
    infinity is not an error: all its numbers are NaN or infinite too.
    """
    left, right = _of_one_kind(as_rows(query, "query embeddings"), as_rows(gallery, "gallery embeddings"), metric)
    copies, originals = repeated_rows(right)
    halves = right.new_zeros(len(right)) if metric == "cosine" else squared_lengths(right).div_(2)
    for at, block in _blocks_of(left, len(right), rows):
        with full_precision():
            found = torch.addmm(halves, block, right.T, alpha=-1)
        if len(copies):
            found[:, copies] = found[:, originals]
        yield at, found


def prepared(query: np.ndarray | Tensor, gallery: np.ndarray | Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Return both sides checked, in one precision and on one device, with unit length under cosine."""
    refuse_unknown(metric)
    return _of_one_kind(as_embeddings(query, "query embeddings"), as_embeddings(gallery, "gallery embeddings"), metric)


def _of_one_kind(left: Tensor, right: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    refuse_unknown(metric)
    refuse_other_dimensions(left.shape[1], right.shape[1])
    dtype = torch.promote_types(left.dtype, right.dtype)
    left, right = left.to(dtype), right.to(left.device, dtype)
    if metric == "cosine":
        left, right = _unit(left, "query embeddings"), _unit(right, "gallery embeddings")
    return left, right


def _blocks_of(left: Tensor, entries: int, rows: int | None) -> Iterator[tuple[slice, Tensor]]:
    # At least 64 rows, else reading the gallery costs more than multiplying.
    step = rows or max(64, (_BLOCK if left.device.type == "cpu" else _DEVICE_BLOCK) // entries)
    for start in range(0, len(left), step):
        block = left[start : start + step]
        yield slice(start, start + len(block)), block


def distances(query: np.ndarray | Tensor, gallery: np.ndarray | Tensor, metric: str = "euclidean") -> Tensor:
    """Return the whole `(Q, G)` matrix of `distance_blocks`, for small sets."""
    return torch.cat([block for _, block in distance_blocks(query, gallery, metric)])


def _unit(rows: Tensor, what: str) -> Tensor:
    lengths = rows.norm(dim=1, keepdim=True)
    if bool((lengths == 0).any()):
        row = int((lengths[:, 0] == 0).nonzero()[0])
        raise CrossreidError(f"{what}: row {row} is all zeros and has no cosine distance; use the euclidean metric.")
    return rows / lengths


def repeated_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of rows that equal an earlier row, and of the first row that each equals."""
    suspects = torch.arange(len(rows), device=rows.device)
    columns = torch.linspace(0, rows.shape[1] - 1, min(8, rows.shape[1]), device=rows.device).long()
    for chosen in (rows[:, columns], rows):  # a few columns distinguish nearly all rows; all columns the rest
        if not len(suspects):
            return suspects, suspects
        # An integer sum wraps but does not round, so equal rows have equal sums whatever the order of summation.
        bits = (chosen[suspects] + 0.0).view(torch.int32 if rows.dtype == torch.float32 else torch.int64).long()
        sums = (bits * torch.arange(1, 2 * bits.shape[1], 2, device=rows.device)).sum(dim=1)
        _, group, counts = torch.unique(sums, return_inverse=True, return_counts=True)
        suspects = suspects[counts[group] > 1]
    if not len(suspects):
        return suspects, suspects
    _, kind = torch.unique(rows[suspects] + 0.0, dim=0, return_inverse=True)
    first = torch.full((int(kind.max()) + 1,), len(rows), device=rows.device)
    first = first.scatter_reduce(0, kind, suspects, "amin")[kind]
    again = first < suspects
    return suspects[again], first[again]


def squared_lengths(rows: Tensor) -> Tensor:
    """Return the squared length of each row, `(N,)`."""
    if rows.device.type == "cpu":
        return torch.from_numpy(lengths_on_host(rows.numpy()))  # without an array of squares of the rows' size
    return rows.square().sum(dim=1)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute matrix products in the precision of their inputs: training may have enabled cheaper ones or autocast,
    which are not meant for scores."""
    # CPUs have cheaper ones too.
    products = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [product.fp32_precision for product in products]
    for product in products:
        product.fp32_precision = "ieee"
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        for product, precision in zip(products, before, strict=True):
            product.fp32_precision = precision
