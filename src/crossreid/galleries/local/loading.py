"""Loading from the database into memory: the vectors to compare, and the index that the database names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from crossreid.galleries.errors import damaged
from crossreid.galleries.local import index_file, vector_table
from crossreid.galleries.local.faiss_index import ServedIndex
from crossreid.galleries.local.state import State
from crossreid.galleries.local.store import Store
from crossreid.galleries.local.vector_table import VectorTable


def load_state(store: Store, folder: Path, *, others_write: bool) -> tuple[State, str]:
    """The content of the database and its index, and if the index is not served, the reason.

    `others_write`: another process may delete entries meanwhile, so missing vectors do not count as damage.
    Raises `GalleryFault`.
    """
    served, why = _named_index(store, folder)
    return State(_load_table(store, served, others_write), served), why


def _named_index(store: Store, folder: Path) -> tuple[ServedIndex | None, str]:
    """The index named by the database, or why it is not served."""
    while True:
        about = store.facts.index_file()
        if about is None:
            return None, ""
        if about["through"] > store.last_row():
            raise damaged(store.database.path, f"{about['file']} covers rows that were never there")
        try:
            return index_file.read(folder, about, store.facts.dimension), ""
        except (ValueError, RuntimeError, OSError) as error:
            if store.facts.index_file() == about:  # and no other process has replaced it
                return None, str(error)


def _load_table(store: Store, served: ServedIndex | None, others_write: bool) -> VectorTable:
    columns = store.columns()
    # With IVF-PQ, vectors covered by the index stay on disk.
    small = served is not None and served.options.kind == "ivf-pq"
    covered = int(np.searchsorted(columns[:, 0], served.through, side="right")) if small and served else 0
    table = vector_table.empty(store.facts.dimension, partial(_from_disk, store))
    start = covered - covered % vector_table.CHUNK
    if start:
        table = vector_table.extended(table, *_columns(columns[:start]), None)
    for first in range(start, len(columns), vector_table.CHUNK // 4):
        part = columns[first : first + vector_table.CHUNK // 4]
        rows, vectors = store.vectors(int(part[0, 0]), int(part[-1, 0]))
        if others_write:
            kept = np.isin(part[:, 0], rows)
            part, vectors = part[kept], vectors[np.isin(rows, part[:, 0])]
        elif not np.array_equal(rows, part[:, 0]):
            raise damaged(store.database.path, "entries and vectors differ")
        table = vector_table.extended(table, *_columns(part), vectors)
    return table


def _columns(columns: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    rows, cameras, modalities = columns[:, :3].astype(np.int64).T
    return rows, (cameras, modalities, columns[:, 3], columns[:, 4])


def _from_disk(store: Store, rows: np.ndarray) -> np.ndarray:
    """`(n, D)` vectors of ascending rows; zeros for deleted ones."""
    found = np.zeros((len(rows), store.facts.dimension), np.float32)
    if len(rows) > 1024 and rows[-1] - rows[0] < 2 * len(rows):
        there, vectors = store.vectors(int(rows[0]), int(rows[-1]))
        at = np.searchsorted(rows, there).clip(max=len(rows) - 1)
        wanted = rows[at] == there
        found[at[wanted]] = vectors[wanted]
        return found
    known = store.vectors_of(rows.tolist())
    for position, row in enumerate(rows.tolist()):
        if row in known:
            found[position] = known[row]
    return found
