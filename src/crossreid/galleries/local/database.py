"""The SQLite database file of a gallery: its tables, and how it is created, opened, written, copied and rewritten.

It uses write-ahead logging and is synchronised at each commit: what was committed survives the death of the process and
of the machine, and what was not leaves no trace. Deleted content is overwritten as it is deleted (`secure_delete`); the
write-ahead log and rearranged pages may hold copies until `vacuum`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from crossreid.galleries.errors import (
    GalleryError,
    GalleryFault,
    another_format,
    closed,
    damaged,
    opened_read_only,
)

FILE = "gallery.sqlite"
_FORMAT = "2"
_PAGE = 16_384  # bytes; a page holds 15 vectors of 256 dimensions
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


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Raise SQLite's errors while writing a new file as `GalleryFault`."""
    try:
        yield
    except sqlite3.Error as error:
        raise GalleryFault(f"{path} could not be written ({error}).") from error


def write_empty(path: Path, facts: Mapping[str, str]) -> None:
    """Write a database without entries; `facts` are the content of its table `meta` besides the format."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={_PAGE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(f"BEGIN; {_SCHEMA}")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", _FORMAT), *facts.items()])
    connection.execute("COMMIT")
    connection.close()


class Conflict(GalleryFault):
    """A write conflicts with existing content."""


class Database:
    """An open database. One thread writes at a time; reading has its own connection and lock.

    Raises `GalleryError` if the folder holds none, or one of another format; `GalleryFault` if it is damaged.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        if not self.path.is_file():
            raise GalleryError(f"{folder} holds no gallery: {FILE} not found. Create one: `crossreid gallery create`.")
        if not os.access(self.path, os.R_OK):
            raise GalleryError(f"{self.path} is not readable by this user; ask its owner.")
        self._reading = threading.RLock()
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        # SQLite reads a database with a log only if it can create files beside it, or if it is declared immutable.
        self._unchanging = read_only and not os.access(folder, os.W_OK) and not self._has_log()
        try:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only=ON")
            self._writer = None if read_only else self._connect()
            if self._writer is not None and self._journal(self._writer) != "wal":
                self._writer.execute("PRAGMA journal_mode=WAL")  # a snapshot is a single file without a log
            found = self.read("SELECT value FROM meta WHERE key = 'format'")
            if not found or found[0][0] != _FORMAT:
                raise another_format(self.path, found[0][0] if found else None, _FORMAT)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error | GalleryFault) and self._has_log() and not os.access(folder, os.W_OK):
                raise GalleryError(
                    f"{folder} is not writable, and {FILE}-wal holds content that is not in {FILE} yet: copy both to where they can "
                    "be written, open the gallery there and close it, and copy it back."
                ) from error
            if isinstance(error, sqlite3.Error):
                raise GalleryFault(
                    f"{self.path} cannot be read as a gallery ({error}); restore it from a snapshot."
                ) from error
            raise

    def _has_log(self) -> bool:
        """Whether the log beside the database has content, or another process has the database open."""
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

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows selected by a statement."""
        with self._reading:
            if self._closed or self._reader is None:
                raise closed(self.path.parent)
            try:
                return self._reader.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise GalleryFault(f"{self.path} could not be read ({error}); restore it from a snapshot.") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything written within the block is kept, or nothing. Raises `Conflict` with existing content."""
        writer = self._writable()
        try:
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            raise Conflict(str(damaged(self.path, error))) from error
        except sqlite3.Error as error:
            raise GalleryFault(f"{self.path} could not be written ({error}); nothing of this was kept.") from error

    def _writable(self) -> sqlite3.Connection:
        if self._closed:
            raise closed(self.path.parent)
        if self._writer is None:
            raise opened_read_only(self.path.parent)
        return self._writer

    def whole_number(self, value: Any, what: str) -> int:
        """A number that was read, named `what` in messages. Raises `GalleryFault` if it is not a whole number."""
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise damaged(self.path, f"{what} is {value!r}") from error

    def close(self) -> None:
        """Close the database, folding in its log."""
        self._closed = True
        with self._reading:
            if self._reader is not None:
                self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def backup(self, folder: Path) -> None:
        """Copy the database into a folder as it is now, as a single file; writing may go on meanwhile."""
        with (
            faults(folder / FILE),
            closing(sqlite3.connect(folder / FILE, isolation_level=None)) as target,
            closing(self._connect()) as source,  # its own, so that searches need not wait
        ):
            source.backup(target)

    def vacuum(self) -> None:
        """Rewrite the database without deleted content, and empty its log.

        Raises `GalleryError` if another process is reading and so holds the log.
        """
        self._maintain("VACUUM")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Fold the log into the database and truncate it."""
        with self._reading:
            busy = self._maintain("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        if busy:
            raise GalleryError(
                f"{self.path.parent} is being read by another process, which holds its log; close it there and compact again."
            )

    def _maintain(self, statement: str) -> list[Any]:
        writer = self._writable()
        try:
            return writer.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise GalleryFault(f"{self.path} could not be compacted ({error}); it is unchanged.") from error


def as_one_file(folder: Path) -> None:
    """Make the database of a folder, which must not be open anywhere, a single file without a log."""
    path = folder / FILE
    with faults(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
