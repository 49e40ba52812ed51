"""The in-memory half of a gallery: columns to filter by and vectors to compare with, in order of rows.

Tables are immutable: writing makes a new one that shares unchanged parts, so searches continue in other threads without
a lock. Vectors are in chunks of fixed length; a chunk that is not in memory is read from the store. Products are inner
products by faiss; the scores of a search are recomputed by `similarity.cosine_similarities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from crossreid.galleries.filters import Filter

CHUNK = 65_536
_FEW = 4  # queries from which a matrix product is used; fewer are scanned, one chunk per thread


@dataclass(frozen=True, eq=False, slots=True)
class VectorTable:
    """N positions: rows `(N,)` int64, the store's row numbers, ascending; alive `(N,)` bool; cameras, modalities, times
    and added likewise; chunks of vectors.

    A chunk is `(CHUNK, D)` float32, filled at the table's own positions, or None if it is on disk.
    """

    rows: np.ndarray
    alive: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    times: np.ndarray
    added: np.ndarray
    chunks: tuple[np.ndarray | None, ...]
    dimension: int
    load: Callable[[np.ndarray], np.ndarray]
    dead: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def alive_count(self) -> int:
        """The number of positions that are alive."""
        return len(self) - self.dead

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """The position of each row number, -1 if it has none or is dead."""
        if not len(self):
            return np.full(rows.shape, -1, np.int64)
        at = np.searchsorted(self.rows, rows).clip(max=len(self) - 1)
        return np.where((self.rows[at] == rows) & self.alive[at], at, -1)

    def allowed(self, filter: Filter | None, rows: np.ndarray | None) -> np.ndarray | None:
        """`(N,)` bool: positions that are alive, meet the filter on numbers and are in `rows`; None for all."""
        if filter is None and rows is None:
            return self.alive if self.dead else None
        mask = self.alive.copy()
        if rows is not None:
            chosen = np.zeros(len(self), bool)
            positions = self.positions(rows)
            chosen[positions[positions >= 0]] = True
            mask &= chosen
        if filter is None:
            return mask
        if filter.cameras is not None:
            mask &= np.isin(self.cameras, filter.cameras)
        if filter.modality is not None:
            mask &= self.modalities == int(filter.modality)
        if filter.since is not None:
            mask &= self.times >= filter.since  # false for NaN
        if filter.until is not None:
            mask &= self.times < filter.until
        if filter.added_until is not None:
            mask &= self.added < filter.added_until
        return mask

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """The vectors `(stop - start, D)` of a range of positions, zeros for one on disk that is gone."""
        parts = []
        while start < stop:
            number, offset = divmod(start, CHUNK)
            end = min(stop, (number + 1) * CHUNK)
            chunk = self.chunks[number]
            parts.append(self.load(self.rows[start:end]) if chunk is None else chunk[offset : offset + end - start])
            start = end
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, self.dimension), np.float32), *parts])

    def gathered(self, positions: np.ndarray) -> np.ndarray:
        """The vectors `(n, D)` of ascending positions, zeros for one on disk that is gone."""
        found = np.empty((len(positions), self.dimension), np.float32)
        numbers = positions // CHUNK
        away = np.zeros(len(positions), bool)
        for number in np.unique(numbers):
            own = numbers == number
            chunk = self.chunks[number]
            if chunk is None:
                away |= own
            else:
                found[own] = chunk[positions[own] - number * CHUNK]
        if away.any():
            found[away] = self.load(self.rows[positions[away]])
        return found

    def without(self, rows: Iterable[int]) -> VectorTable:
        """The same with some rows dead, which may already be so or have no position."""
        positions = self.positions(np.array(sorted(rows), np.int64))
        alive = self.alive.copy()
        alive[positions[positions >= 0]] = False
        return replace(self, alive=alive, dead=int(len(alive) - alive.sum()))

    def on_disk_to(self, stop: int) -> VectorTable:
        """The same without the in-memory chunks that end before `stop`."""
        return replace(self, chunks=(*(None,) * (stop // CHUNK), *self.chunks[stop // CHUNK :]))

    def nearest(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Inner products `(Q, k)` float32, descending, and their positions `(Q, k)`, -1 if there are no more."""
        spans = [(start, min(start + CHUNK, len(self))) for start in range(0, len(self), CHUNK)]
        if allowed is not None:
            spans = [(start, stop) for start, stop in spans if allowed[start:stop].any()]
        tasks = [(self, span, queries, k, allowed) for span in spans]
        if len(queries) < _FEW and len(tasks) > 1:
            found = list(_threads().map(_nearest_in, tasks))
        else:
            found = [_nearest_in(task) for task in tasks]
        if not found:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        products = np.concatenate([part[0] for part in found], axis=1)
        positions = np.concatenate([part[1] for part in found], axis=1)
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, order, 1), np.take_along_axis(positions, order, 1)


def empty(dimension: int, load: Callable[[np.ndarray], np.ndarray]) -> VectorTable:
    """A table without positions."""
    whole, flags = np.empty(0, np.int64), np.empty(0, bool)
    return VectorTable(whole, flags, whole, whole, np.empty(0), np.empty(0), (), dimension, load)


def extended(
    table: VectorTable, rows: np.ndarray, columns: tuple[np.ndarray, ...], vectors: np.ndarray | None
) -> VectorTable:
    """The table extended by rows, (cameras, modalities, times, added), and vectors `(n, D)`, None if they are on disk.

    Vectors are written after the filled part of the last chunk, where no other table reads.
    """
    chunks, start, count = list(table.chunks), len(table), len(rows)
    done = 0
    while done < count:
        number, offset = divmod(start + done, CHUNK)
        fitting = min(CHUNK - offset, count - done)
        if number == len(chunks):
            chunks.append(None if vectors is None else np.empty((CHUNK, table.dimension), np.float32))
        chunk = chunks[number]
        if chunk is not None and vectors is not None:
            chunk[offset : offset + fitting] = vectors[done : done + fitting]
        done += fitting
    cameras, modalities, times, added = columns
    return replace(
        table,
        rows=_longer(table.rows, rows),
        alive=_longer(table.alive, np.ones(count, bool)),
        cameras=_longer(table.cameras, cameras),
        modalities=_longer(table.modalities, modalities),
        times=_longer(table.times, times),
        added=_longer(table.added, added),
        chunks=tuple(chunks),
    )


def _nearest_in(
    task: tuple[VectorTable, tuple[int, int], np.ndarray, int, np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    table, (start, stop), queries, k, allowed = task
    mask = None if allowed is None else allowed[start:stop]
    if mask is not None and mask.all():
        mask = None
    selector, taken = None, None
    on_disk = table.chunks[start // CHUNK] is None
    if mask is not None and (on_disk or len(queries) >= _FEW or 8 * mask.sum() < len(mask)):
        taken = np.flatnonzero(mask)
        vectors = table.gathered(start + taken)
    else:
        vectors = table.vectors(start, stop)
        if mask is not None:
            members = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(members), faiss.swig_ptr(members))
    k = min(k, len(vectors))
    products = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    vectors = np.ascontiguousarray(vectors)
    faiss.knn_inner_product(
        faiss.swig_ptr(queries), faiss.swig_ptr(vectors), table.dimension, len(queries), len(vectors), k,
        faiss.swig_ptr(products), faiss.swig_ptr(positions), selector,
    )  # fmt: skip
    products[positions < 0] = -np.inf
    if taken is not None:
        positions = np.where(positions >= 0, taken[positions], -1)
    return products, np.where(positions >= 0, positions + start, -1)


def _longer(values: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The values followed by more, in the same memory if it has room."""
    count = len(values) + len(more)
    room = values.base if isinstance(values.base, np.ndarray) and values.base.ndim == 1 else values
    if count > len(room) or room.dtype != values.dtype or values.ctypes.data != room.ctypes.data:
        room = np.empty(max(1024, count + count // 4), values.dtype)
        room[: len(values)] = values
    room[len(values) : count] = more
    return room[:count]


@cache
def _threads() -> ThreadPoolExecutor:
    import faiss

    # faiss scans few queries in a single thread, so a persistent pool does.
    return ThreadPoolExecutor(
        faiss.omp_get_max_threads(), "gallery", initializer=faiss.omp_set_num_threads, initargs=(1,)
    )


def use_matrix_products() -> None:
    """Make faiss use matrix products from four queries on: its scan rereads all vectors for each query."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = _FEW
