"""The durable half of a gallery in process: one SQLite database that holds every entry and every vector.

It is kept in write-ahead mode and synchronised at each commit, so what was committed survives the death of the process
and of the machine, and what was not leaves no trace. Deleted content is overwritten as it is deleted (`secure_delete`);
the write-ahead log and rearranged pages may hold copies until `compact`. A row number is never used twice, so that an
index made over some rows is never wrong about those of them that are still there.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.files import fsync_file, fsync_folder
from crossreid.galleries.entries import Batch, Entry, Filter, prefix_end
from crossreid.galleries.errors import GalleryError, GalleryFault, another_format, damaged, existing
from crossreid.galleries.indexes import IndexOptions, about_of
from crossreid.galleries.locking import unfinished

FILE = "gallery.sqlite"
_FORMAT = "2"
_PAGE = 16_384  # bytes; 15 vectors of 256 dimensions in one
_MANY = 10_000  # values of one statement
_MODALITIES = [int(modality) for modality in Modality]
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
  row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, identity TEXT, camera INTEGER NOT NULL,
  modality INTEGER NOT NULL, time REAL, source TEXT NOT NULL, added REAL NOT NULL
);
CREATE INDEX of_identity ON entries (identity) WHERE identity IS NOT NULL;
CREATE INDEX of_source ON entries (source);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, embedding BLOB NOT NULL);
"""


def create(folder: Path, model: str, dimension: int, index: str) -> None:
    """Write an empty gallery: the folder appears under its name once it is whole."""
    with unfinished(folder) as temporary:
        with _faults(folder):
            _write_empty(temporary / FILE, model, dimension, index)
        publish(temporary, folder)


def _write_empty(path: Path, model: str, dimension: int, index: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={_PAGE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(f"BEGIN; {_SCHEMA}")
    about = {"format": _FORMAT, "gallery": uuid.uuid4().hex, "model": model, "dimension": str(dimension)}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [*about.items(), ("index", index), ("deleted", "0")])
    connection.execute("COMMIT")
    connection.close()


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Faults of SQLite in our words, where a new file is written."""
    try:
        yield
    except sqlite3.Error as error:
        raise GalleryFault(f"{path} could not be written ({error}).") from error


def publish(temporary: Path, folder: Path) -> None:
    """Give a written folder its name, durably; it is its owner's alone. Raises `GalleryError` where there is something already."""
    for path in temporary.iterdir():
        fsync_file(path)
    fsync_folder(temporary)
    try:
        temporary.rename(folder)
    except OSError as error:
        raise GalleryError(f"{folder} is there already; give a path that is free ({error.strerror}).") from error
    fsync_folder(folder.parent)


class _Conflict(GalleryFault):
    """What was to be written goes against what there is."""


class Store:
    """The database of a gallery. Writing is for one thread at a time; reading has a connection and a lock of its own.

    Raises `GalleryError` where the folder holds none, or one of another format; `GalleryFault` where it is damaged.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        if not self.path.is_file():
            raise GalleryError(f"{folder} holds no gallery: {FILE} not found. Create one: `crossreid gallery create`.")
        if not os.access(self.path, os.R_OK):
            raise GalleryError(f"{self.path} may not be read by this user; ask its owner.")
        self._reading = threading.RLock()
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        # SQLite reads a database with a log only where it can make files beside it, or is told that nobody writes.
        self._unchanging = read_only and not os.access(folder, os.W_OK) and not self._has_log()
        try:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only=ON")
            self._writer = None if read_only else self._connect()
            if self._writer is not None and self._journal(self._writer) != "wal":
                self._writer.execute("PRAGMA journal_mode=WAL")  # a snapshot is kept as a single file
            meta = dict(self._read("SELECT key, value FROM meta"))
            if meta.get("format") != _FORMAT:
                raise another_format(self.path, meta.get("format"), _FORMAT)
            self._read_about(meta)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error | GalleryFault) and self._has_log() and not os.access(folder, os.W_OK):
                raise GalleryError(
                    f"{folder} cannot be written, and {FILE}-wal holds what is not in {FILE} yet: copy both to where they can "
                    "be written, open the gallery there and close it, and copy it back."
                ) from error
            if isinstance(error, sqlite3.Error):
                raise GalleryFault(
                    f"{self.path} cannot be read as a gallery ({error}); restore it from a snapshot."
                ) from error
            raise

    def _read_about(self, meta: dict[str, str]) -> None:
        try:
            self.model, self.uuid, self.dimension = meta["model"], meta["gallery"], int(meta["dimension"])
            self.options = IndexOptions.from_json(meta["index"])
            if self.dimension < 1:
                raise CrossreidError(f"dimension {self.dimension}")
        except KeyError as error:
            raise damaged(self.path, f"it does not say its {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            raise damaged(self.path, error) from error

    def _has_log(self) -> bool:
        """Whether there is something in a log beside the database, or somebody has it open."""
        log, shared = (self.path.with_name(f"{FILE}-{end}") for end in ("wal", "shm"))
        return shared.exists() or (log.exists() and log.stat().st_size > 0)

    def _connect(self) -> sqlite3.Connection:
        address = self.path.absolute().as_uri() + ("?immutable=1" if self._unchanging else "")
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA wal_autocheckpoint=4096")
        connection.execute(f"PRAGMA journal_size_limit={1 << 26}")
        return connection

    @staticmethod
    def _journal(connection: sqlite3.Connection) -> str:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reading:
            if self._closed or self._reader is None:
                raise GalleryFault(f"{self.path.parent} is closed; open it again.")
            try:
                return self._reader.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise GalleryFault(f"{self.path} could not be read ({error}); restore it from a snapshot.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written within, or nothing of it."""
        if self._closed:
            raise GalleryFault(f"{self.path.parent} is closed; open it again.")
        if self._writer is None:
            raise GalleryError(f"{self.path.parent} is open read-only; open it for writing.")
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            raise _Conflict(str(damaged(self.path, error))) from error
        except sqlite3.Error as error:
            raise GalleryFault(f"{self.path} could not be written ({error}); nothing of this was kept.") from error

    def close(self) -> None:
        """Close the database; its log is folded in."""
        self._closed = True
        with self._reading:
            if self._reader is not None:
                self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def insert(self, batch: Batch, *, replace: bool) -> tuple[np.ndarray, list[int]]:
        """Keep a batch: its row numbers `(N,)`, ascending, and the rows that it replaces.

        Raises `GalleryError` naming ids that are there, unless they may be replaced; nothing is kept then.
        """
        try:
            with self._transaction() as writer:
                replaced = self._remove(writer, list(self.rows_of(batch.ids).values())) if replace else []
                rows = np.arange(len(batch), dtype=np.int64) + self.last_row() + 1
                numbers = rows.tolist()
                times = [None if math.isnan(time) else time for time in batch.times.tolist()]
                writer.executemany(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    zip(
                        numbers, batch.ids, batch.identities, batch.cameras.tolist(), batch.modalities.tolist(), times,
                        batch.sources, batch.added.tolist(), strict=True,
                    ),
                )  # fmt: skip
                vectors = (row.tobytes() for row in batch.embeddings)
                writer.executemany("INSERT INTO vectors VALUES (?, ?)", zip(numbers, vectors, strict=True))
        except _Conflict:
            there = self.rows_of(batch.ids)
            if not there:
                raise
            raise existing([text for text in batch.ids if text in there]) from None
        return rows, replaced

    def last_row(self) -> int:
        """The highest row number that was ever used."""
        found = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
        return self._whole(found[0][0] if found else 0, "the last row")

    def delete(self, rows: list[int]) -> None:
        """Delete entries by their rows."""
        with self._transaction() as writer:
            self._remove(writer, rows)

    @staticmethod
    def _remove(writer: sqlite3.Connection, rows: list[int]) -> list[int]:
        for table in ("entries", "vectors"):
            writer.executemany(f"DELETE FROM {table} WHERE row = ?", ((row,) for row in rows))
        if rows:
            writer.execute("UPDATE meta SET value = value + ? WHERE key = 'deleted'", (len(rows),))
        return rows

    def deleted(self) -> int:
        """Entries deleted or replaced since the last compaction."""
        found = self._read("SELECT value FROM meta WHERE key = 'deleted'")
        return self._whole(found[0][0] if found else None, "how much was deleted")

    def _whole(self, value: Any, what: str) -> int:
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise damaged(self.path, f"{what} is {value!r}") from error

    def forget_deleted(self, count: int) -> None:
        """Say that the traces of so many deleted entries are gone."""
        with self._transaction() as writer:
            writer.execute("UPDATE meta SET value = value - ? WHERE key = 'deleted'", (count,))

    def name_index(self, options: str, about: dict[str, Any] | None) -> None:
        """Say how the gallery is to be searched, and which index file is served: both or neither are kept."""
        rows = [("index", options)] if about is None else [("index", options), ("index_file", json.dumps(about))]
        with self._transaction() as writer:
            writer.execute("DELETE FROM meta WHERE key = 'index_file'")
            writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def index_file(self) -> dict[str, Any] | None:
        """What `name_index` was told of the index file."""
        found = self._read("SELECT value FROM meta WHERE key = 'index_file'")
        try:
            return about_of(found[0][0]) if found else None
        except ValueError as error:
            raise damaged(self.path, error) from error

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Row number of each id that is there."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), _MANY):
            part = ids[start : start + _MANY]
            found.update(self._read(f"SELECT id, row FROM entries WHERE id IN ({_marks(part)})", part))
        return found

    def rows_where(self, filter: Filter) -> list[int]:
        """Row numbers of the entries that meet a filter, ascending."""
        condition, values = where(filter)
        return [row for (row,) in self._read(f"SELECT row FROM entries WHERE {condition} ORDER BY row", values)]

    def entries_of(self, rows: Sequence[int], *, embeddings: bool = False) -> dict[int, Entry]:
        """Entry of each row that is there."""
        found: dict[int, Entry] = {}
        join = "JOIN vectors USING (row)" if embeddings else ""
        for start in range(0, len(rows), _MANY):
            part = rows[start : start + _MANY]
            told = "row, id, identity, camera, modality, time, source, added"
            rows = self._read(
                f"SELECT {told}, {'embedding' if embeddings else 'NULL'} FROM entries {join} WHERE row IN ({_marks(part)})",
                part,
            )
            unpacked = self._unpacked([values[-1] for values in rows]) if embeddings else [None] * len(rows)
            for (row, *known, _), embedding in zip(rows, unpacked, strict=True):
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
        raise damaged(self.path, f"the entry {name!r} holds {(identity, camera, modality, time, source, added)}")

    def columns(self, after: int = 0) -> np.ndarray:
        """What is compared of every row after `after`, ascending: `(N, 5)` float64 of row, camera, modality, time, added.

        All of them are whole numbers below 2^53 but the times, of which the first is NaN where unknown.
        """
        parts = [np.empty((0, 5))]
        while True:
            found = self._read(
                "SELECT row, camera, modality, time, added FROM entries WHERE row > ? ORDER BY row LIMIT 65536",
                (after,),
            )
            if not found:
                return np.concatenate(parts)
            try:
                part = np.array(found, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise damaged(self.path, error) from error
            row, camera, modality, _, added = part.T
            whole = np.isfinite(row + added) & (camera >= 0) & (camera < 2**31) & np.isin(modality, _MODALITIES)
            if not whole.all():
                raise damaged(self.path, f"an entry holds {found[int((~whole).argmax())]}")
            parts.append(part)
            after = found[-1][0]

    def vectors(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers `(N,)` and vectors `(N, D)` of the rows from `first` to `last`, both included, ascending."""
        found = self._read("SELECT row, embedding FROM vectors WHERE row BETWEEN ? AND ? ORDER BY row", (first, last))
        return np.array([row for row, _ in found], np.int64), self._unpacked([blob for _, blob in found])

    def vectors_of(self, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """Vector of each row that is there."""
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(rows), _MANY):
            part = rows[start : start + _MANY]
            pairs = self._read(f"SELECT row, embedding FROM vectors WHERE row IN ({_marks(part)})", part)
            unpacked = self._unpacked([blob for _, blob in pairs])
            found.update(zip((row for row, _ in pairs), unpacked, strict=True))
        return found

    def _unpacked(self, blobs: list[Any]) -> np.ndarray:
        size = 4 * self.dimension
        if not all(type(blob) is bytes and len(blob) == size for blob in blobs):
            raise damaged(self.path, f"a vector is not of {size} bytes")
        rows = np.frombuffer(b"".join(blobs), np.float32).reshape(-1, self.dimension)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("nd,nd->n", rows, rows)
        if not (np.abs(squares - 1) < 1e-3).all():  # nor where one is NaN
            raise damaged(self.path, "a vector is not of length 1")
        return rows

    def batches(self, size: int) -> Iterator[Batch]:
        """Every entry in order of rows."""
        after = 0
        while True:
            rows = [
                row
                for (row,) in self._read("SELECT row FROM entries WHERE row > ? ORDER BY row LIMIT ?", (after, size))
            ]
            if not rows:
                return
            found = self.entries_of(rows, embeddings=True)
            after = rows[-1]
            if found:
                try:
                    batch = Batch.kept(found[row] for row in rows if row in found)
                except ValueError as error:  # texts or times that were never added
                    raise damaged(self.path, error) from error
                yield batch

    def count(self) -> int:
        """How many entries there are."""
        return int(self._read("SELECT count(*) FROM entries")[0][0])

    def backup(self, path: Path) -> None:
        """Copy the database as it is now, as a single file; writing may go on meanwhile."""
        with (
            _faults(path),
            closing(sqlite3.connect(path, isolation_level=None)) as target,
            closing(self._connect()) as source,  # of its own, so that searches need not wait
        ):
            source.backup(target)

    def vacuum(self) -> None:
        """Write the database anew without what was deleted, and empty its log.

        Raises `GalleryError` where another process reads, and so holds on to the log.
        """
        self._maintain("VACUUM")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Fold the log into the database and cut it to nothing."""
        with self._reading:
            busy = self._maintain("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        if busy:
            raise GalleryError(
                f"{self.path.parent} is being read by another process, which holds on to its log; close it there and compact again."
            )

    def _maintain(self, statement: str) -> list[Any]:
        if self._closed:
            raise GalleryFault(f"{self.path.parent} is closed; open it again.")
        if self._writer is None:
            raise GalleryError(f"{self.path.parent} is open read-only; open it for writing.")
        try:
            return self._writer.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise GalleryFault(f"{self.path} could not be compacted ({error}); it is as it was.") from error


def as_one_file(path: Path) -> None:
    """Make a database that nobody has open a single file, without a log beside it."""
    with _faults(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def where(filter: Filter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition and its values: no text of a filter is ever part of a statement."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    for name, value in (("identity", filter.identity), ("modality", filter.modality), ("source", filter.source)):
        if value is not None:
            parts.append(f"{name} = ?")
            values.append(int(value) if isinstance(value, Modality) else value)
    if filter.cameras is not None:
        parts.append(f"camera IN ({_marks(filter.cameras)})")
        values += filter.cameras
    for comparison, time in (
        ("time >= ?", filter.since),
        ("time < ?", filter.until),
        ("added < ?", filter.added_until),
    ):
        if time is not None:
            parts.append(comparison)
            values.append(time)
    if filter.source_prefix:
        # Not LIKE: it folds letters, and % and _ would need to be escaped.
        parts.append("source >= ?")
        values.append(filter.source_prefix)
        if (end := prefix_end(filter.source_prefix)) is not None:
            parts.append("source < ?")
            values.append(end)
    return " AND ".join(parts), values


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
