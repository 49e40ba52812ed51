"""Approximate indexes of faiss: how they are built and searched.

Either kind only proposes candidates: scores come from the stored vectors. `index_options` describes HNSW and IVF-PQ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.galleries.index_options import IndexOptions

_BLOCK = 16_384
_BREADTH = 4096


@dataclass(frozen=True, eq=False, slots=True)
class ServedIndex:
    """An index over every entry at the time it was built: rows up to and including `through`."""

    options: IndexOptions
    index: Any  # faiss.IndexIDMap
    through: int
    about: dict[str, Any] = field(default_factory=dict)  # its file's description, as returned by `index_file.write`

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def members(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers as the bitmap for `search`."""
        flags = np.zeros(self.through + 1, bool)
        flags[rows] = True
        return np.packbits(flags, bitorder="little")

    def search(self, queries: np.ndarray, k: int, members: np.ndarray | None, share: float) -> np.ndarray:
        """`(Q, k)` int64 row numbers of candidates, -1 if there are no more.

        With `members`, only those are returned; they are about a `share` of all, and the search is widened accordingly.
        """
        import faiss

        selector = None if members is None else faiss.IDSelectorBitmap(members)
        if self.options.kind == "hnsw":
            breadth = min(_BREADTH, math.ceil(max(self.options.ef_search, k) / share))
            given = faiss.SearchParametersHNSW(sel=selector, efSearch=max(k, breadth))
        else:
            given = faiss.SearchParametersIVF(sel=selector, nprobe=math.ceil(self.options.nprobe / share))
        # If a program has imported faiss.contrib.torch_utils, `search` is replaced by one without parameters.
        search = getattr(self.index, "search_numpy", self.index.search)
        return search(queries, k, params=given)[1]


def build(
    options: IndexOptions,
    dimension: int,
    count: int,
    through: int,
    part: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    advance: Callable[..., None] | None = None,
) -> ServedIndex:
    """Build an index over `count` entries; `part(start, stop)` returns row numbers `(n,)` and vectors `(n, D)`.

    `advance(done, total)` is called as entries are added.
    Raises `CrossreidError` if `IndexOptions.impossible` returns a reason, or faiss fails.
    """
    options.refuse(dimension, count)
    try:
        return ServedIndex(options, _made(options, dimension, count, part, advance), through)
    except RuntimeError as error:
        raise CrossreidError(f"the {options.kind} index could not be made ({error}).") from error


def _made(
    options: IndexOptions,
    dimension: int,
    count: int,
    part: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    advance: Callable[..., None] | None,
) -> Any:
    import faiss

    if options.kind == "hnsw":
        inner = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, options.m, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = options.ef_construction
        inner.train(part(0, min(count, 1))[1])
    else:
        inner = _trained_lists(options, dimension, count, part)
    index = faiss.IndexIDMap(inner)
    for start in range(0, count, _BLOCK):
        rows, vectors = part(start, min(start + _BLOCK, count))
        index.add_with_ids(vectors, rows)
        if advance is not None:
            advance(len(rows), count)
    return index


def _trained_lists(
    options: IndexOptions, dimension: int, count: int, part: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
) -> Any:
    import faiss

    size = options.part_bytes(dimension)
    lists = options.nlist or max(1, min(int(4 * math.sqrt(count)), count // 39))
    quantiser = faiss.IndexFlatIP(dimension)
    inner = faiss.IndexIVFPQ(quantiser, dimension, lists, size, 8, faiss.METRIC_INNER_PRODUCT)
    inner.own_fields = True
    quantiser.this.disown()
    inner.cp.seed = 0
    inner.cp.min_points_per_centroid = inner.pq.cp.min_points_per_centroid = 1  # else it warns about small galleries
    # Blocks spread over the whole gallery: entries added together are alike.
    wanted = min(count, max(64 * lists, 10_000))
    blocks = max(1, min(wanted // 256, 1000))
    length = -(-wanted // blocks)  # no fewer vectors than lists
    starts = np.linspace(0, count - length, blocks).astype(int)
    sample = np.concatenate([part(start, start + length)[1] for start in starts])
    inner.train(sample)
    return inner
