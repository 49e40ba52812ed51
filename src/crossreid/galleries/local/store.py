"""The durable half of a gallery in process: every entry and every vector, by row number, in its SQLite database.

Row numbers are never reused, so an index built over some rows stays correct for those that still exist.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.galleries import unfinished_folders
from crossreid.galleries.entries import Entries, Entry
from crossreid.galleries.errors import damaged, existing
from crossreid.galleries.filters import Filter
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.local.conditions import condition, marks
from crossreid.galleries.local.database import FILE, Conflict, Database, faults, write_empty
from crossreid.galleries.local.facts import Facts, new_facts

_MANY = 10_000  # values per statement
_MODALITIES = [int(modality) for modality in Modality]


def create(folder: Path, model: str, dimension: int, options: IndexOptions) -> None:
    """Write an empty gallery; the folder appears under its name once complete."""
    with unfinished_folders.unfinished(folder) as temporary:
        with faults(folder):
            write_empty(temporary / FILE, new_facts(model, dimension, options))
        unfinished_folders.publish(temporary, folder)


class Store:
    """The entries of an open `database`, and its `facts`. One thread writes at a time.

    Raises as `Database` and `Facts`.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.database = Database(folder, read_only=read_only)
        try:
            self.facts = Facts(self.database)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def insert(self, entries: Entries, *, replace: bool) -> tuple[np.ndarray, list[int]]:
        """Store entries; returns their row numbers `(N,)`, ascending, and the rows that they replace.

        Raises `GalleryError` naming ids that already exist, unless they may be replaced; nothing is stored then.
        """
        try:
            with self.database.transaction() as writer:
                replaced = self._remove(writer, list(self.rows_of(entries.ids).values())) if replace else []
                rows = np.arange(len(entries), dtype=np.int64) + self.last_row() + 1
                numbers = rows.tolist()
                times = [None if math.isnan(time) else time for time in entries.times.tolist()]
                writer.executemany(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    zip(
                        numbers, entries.ids, entries.identities, entries.cameras.tolist(), entries.modalities.tolist(), times,
                        entries.sources, entries.added.tolist(), strict=True,
                    ),
                )  # fmt: skip
                vectors = (row.tobytes() for row in entries.embeddings)
                writer.executemany("INSERT INTO vectors VALUES (?, ?)", zip(numbers, vectors, strict=True))
        except Conflict:
            there = self.rows_of(entries.ids)
            if not there:
                raise
            raise existing([text for text in entries.ids if text in there]) from None
        return rows, replaced

    def last_row(self) -> int:
        """The highest row number ever used."""
        found = self.database.read("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
        return self.database.whole_number(found[0][0] if found else 0, "the last row")

    def delete(self, rows: list[int]) -> None:
        """Delete entries by their rows."""
        with self.database.transaction() as writer:
            self._remove(writer, rows)

    @staticmethod
    def _remove(writer: sqlite3.Connection, rows: list[int]) -> list[int]:
        for table in ("entries", "vectors"):
            writer.executemany(f"DELETE FROM {table} WHERE row = ?", ((row,) for row in rows))
        Facts.count_deleted(writer, len(rows))
        return rows

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The row number of each existing id."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), _MANY):
            part = ids[start : start + _MANY]
            found.update(self.database.read(f"SELECT id, row FROM entries WHERE id IN ({marks(part)})", part))
        return found

    def rows_where(self, filter: Filter) -> list[int]:
        """Row numbers of the entries that meet a filter, ascending."""
        met, values = condition(filter)
        return [row for (row,) in self.database.read(f"SELECT row FROM entries WHERE {met} ORDER BY row", values)]

    def entries_of(self, rows: Sequence[int], *, embeddings: bool = False) -> dict[int, Entry]:
        """The entry of each existing row."""
        found: dict[int, Entry] = {}
        join = "JOIN vectors USING (row)" if embeddings else ""
        for start in range(0, len(rows), _MANY):
            part = rows[start : start + _MANY]
            told = "row, id, identity, camera, modality, time, source, added"
            selected = self.database.read(
                f"SELECT {told}, {'embedding' if embeddings else 'NULL'} FROM entries {join} WHERE row IN ({marks(part)})",
                part,
            )
            if embeddings:
                unpacked: Sequence[np.ndarray | None] = list(self._unpacked([values[-1] for values in selected]))
            else:
                unpacked = [None] * len(selected)
            for (row, *known, _), embedding in zip(selected, unpacked, strict=True):
                found[row] = self._entry(embedding, *known)
        return found

    def _entry(
        self, embedding: Any, name: Any, identity: Any, camera: Any, modality: Any, time: Any, source: Any, added: Any
    ) -> Entry:
        texts = (name, source) if identity is None else (name, source, identity)
        numbers = (camera, added) if time is None else (camera, added, time)
        try:
            if all(type(text) is str for text in texts) and all(isinstance(number, int | float) for number in numbers):
                return Entry(embedding, name, identity, camera, Modality(modality), time, source, added)
        except ValueError:
            pass
        raise damaged(
            self.database.path, f"the entry {name!r} holds {(identity, camera, modality, time, source, added)}"
        )

    def columns(self, after: int = 0) -> np.ndarray:
        """`(N, 5)` float64 of row, camera, modality, time, added for every row above `after`, ascending.

        All are whole numbers below 2^53 except the two times, the first of which is NaN if unknown.
        """
        parts = [np.empty((0, 5))]
        while True:
            found = self.database.read(
                "SELECT row, camera, modality, time, added FROM entries WHERE row > ? ORDER BY row LIMIT 65536",
                (after,),
            )
            if not found:
                return np.concatenate(parts)
            try:
                part = np.array(found, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise damaged(self.database.path, error) from error
            row, camera, modality, _, added = part.T
            whole = np.isfinite(row + added) & (camera >= 0) & (camera < 2**31) & np.isin(modality, _MODALITIES)
            if not whole.all():
                raise damaged(self.database.path, f"an entry holds {found[int((~whole).argmax())]}")
            parts.append(part)
            after = found[-1][0]

    def vectors(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers `(N,)` and vectors `(N, D)` of the rows from `first` to `last`, both included, ascending."""
        found = self.database.read(
            "SELECT row, embedding FROM vectors WHERE row BETWEEN ? AND ? ORDER BY row", (first, last)
        )
        return np.array([row for row, _ in found], np.int64), self._unpacked([blob for _, blob in found])

    def vectors_of(self, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """The vector of each existing row."""
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(rows), _MANY):
            part = rows[start : start + _MANY]
            pairs = self.database.read(f"SELECT row, embedding FROM vectors WHERE row IN ({marks(part)})", part)
            unpacked = self._unpacked([blob for _, blob in pairs])
            found.update(zip((row for row, _ in pairs), unpacked, strict=True))
        return found

    def _unpacked(self, blobs: list[Any]) -> np.ndarray:
        size = 4 * self.facts.dimension
        if not all(type(blob) is bytes and len(blob) == size for blob in blobs):
            raise damaged(self.database.path, f"a vector is not of {size} bytes")
        rows = np.frombuffer(b"".join(blobs), np.float32).reshape(-1, self.facts.dimension)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("nd,nd->n", rows, rows)
        if not (np.abs(squares - 1) < 1e-3).all():  # false for NaN too
            raise damaged(self.database.path, "a vector is not of length 1")
        return rows

    def batches(self, size: int) -> Iterator[Entries]:
        """Every entry, in batches, in order of rows."""
        after = 0
        while True:
            rows = [
                row
                for (row,) in self.database.read(
                    "SELECT row FROM entries WHERE row > ? ORDER BY row LIMIT ?", (after, size)
                )
            ]
            if not rows:
                return
            found = self.entries_of(rows, embeddings=True)
            after = rows[-1]
            if found:
                try:
                    part = Entries.kept(found[row] for row in rows if row in found)
                except CrossreidError as error:  # texts or times that could not have been added
                    raise damaged(self.database.path, error) from error
                yield part

    def count(self) -> int:
        """The number of entries."""
        return int(self.database.read("SELECT count(*) FROM entries")[0][0])
