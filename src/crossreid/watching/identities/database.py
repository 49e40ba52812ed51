"""The SQLite file of a watch folder: its tables, how it is opened, read by other processes, and written in steps.

It uses write-ahead logging and is synchronised at each commit: what a step has written survives the death of the
process and of the machine, and an unfinished step leaves no trace. Deleted content is overwritten.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.files import remove_leftovers_in, replacing

FILE = "state.db"
FORMAT = "1"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cameras (name TEXT PRIMARY KEY, number INTEGER, frame INTEGER, time REAL) WITHOUT ROWID;
CREATE TABLE identities (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created REAL NOT NULL, merged_into INTEGER);
CREATE INDEX identity_of_name ON identities (name) WHERE name IS NOT NULL;
CREATE TABLE presences (
  row INTEGER PRIMARY KEY AUTOINCREMENT, identity INTEGER NOT NULL, camera TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
  open INTEGER NOT NULL
);
CREATE INDEX presence_of_identity ON presences (identity, camera);
CREATE INDEX presence_open ON presences (camera) WHERE open;
CREATE INDEX presence_open_of_identity ON presences (identity) WHERE open;
CREATE INDEX presence_last ON presences (last);
CREATE TABLE tracks (
  row INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, track INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
  last_frame INTEGER NOT NULL, modality INTEGER NOT NULL, finished INTEGER NOT NULL, embedding BLOB NOT NULL,
  identity INTEGER NOT NULL, presence INTEGER NOT NULL, probability REAL, pinned INTEGER NOT NULL DEFAULT 0, UNIQUE (camera, track)
);
CREATE INDEX track_of_identity ON tracks (identity, modality, first);
CREATE INDEX track_of_presence ON tracks (presence);
CREATE INDEX track_of_camera ON tracks (camera, last);
CREATE INDEX track_last ON tracks (last);
CREATE TABLE used_tracks (camera TEXT PRIMARY KEY, track INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE boxes (
  track INTEGER NOT NULL, first_frame INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (track, first_frame)
) WITHOUT ROWID;
CREATE TABLE key_frames (
  track INTEGER NOT NULL, frame INTEGER NOT NULL, time REAL NOT NULL, quality REAL NOT NULL, box BLOB NOT NULL, path TEXT NOT NULL,
  PRIMARY KEY (track, frame)
) WITHOUT ROWID;
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, time REAL NOT NULL, identity INTEGER NOT NULL,
  content TEXT NOT NULL
);
CREATE TABLE links (
  row INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('must', 'cannot')),
  one INTEGER NOT NULL, other INTEGER NOT NULL,
  track INTEGER, other_track INTEGER, by TEXT NOT NULL, time REAL NOT NULL, holds INTEGER NOT NULL
);
CREATE TABLE trackers (camera TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE cursors (sink TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
  number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('merge', 'split', 'forget')), content TEXT NOT NULL,
  by TEXT NOT NULL,
  asked REAL NOT NULL, event INTEGER, refused TEXT
);
"""


class StateError(CrossreidError):
    """The state of a watch folder cannot be opened, read or written as requested; the message says what to do."""


class Database:
    """An open `state.db`. One thread at a time is in a step and holds `stepping`; reading has its own connection.

    Raises `StateError` if it is missing (and `create` is not set), of another format, or damaged.
    """

    def __init__(self, folder: Path, *, read_only: bool, create: bool = False, watch: str | None = None) -> None:
        self.path = folder / FILE
        if not self.path.is_file():
            if read_only or not create:
                raise StateError(
                    f"{folder} holds no state of a watch: {FILE} not found. `crossreid watch` creates one."
                )
            folder.mkdir(parents=True, exist_ok=True)
            self._write_empty(watch or uuid.uuid4().hex[:12])
        self._reading, self.stepping = threading.RLock(), threading.RLock()
        self._depth = 0
        self._reader = self._writer = None
        try:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only=ON")
            self._writer = None if read_only else self._connect()
            found = dict(self._reader.execute("SELECT key, value FROM meta").fetchall())
        except sqlite3.Error as error:
            self.close()
            raise StateError(
                f"{self.path} cannot be read as the state of a watch ({error}); restore a copy."
            ) from error
        if found.get("format") != FORMAT:
            self.close()
            raise StateError(
                f"{self.path} has format {found.get('format')}; this version reads {FORMAT}. Watch into a new folder, or use the "
                "version that wrote it."
            )
        self.watch = str(found["watch"])

    def _write_empty(self, watch: str) -> None:
        """Create the file with all tables, or none: the process may die here."""
        remove_leftovers_in(self.path.parent, own=(FILE,))
        try:
            with replacing(self.path, durable=True) as temporary:
                connection = sqlite3.connect(temporary, isolation_level=None)
                connection.executescript(f"BEGIN; {_SCHEMA}")
                connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("watch", watch)])
                connection.execute("COMMIT")
                connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
        except sqlite3.Error as error:
            raise StateError(f"{self.path} could not be written ({error}).") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path.absolute().as_uri(), uri=True, isolation_level=None, check_same_thread=False, timeout=30
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA wal_autocheckpoint=2048")
        connection.execute(f"PRAGMA journal_size_limit={1 << 26}")
        return connection

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows selected by a statement: within a step, including its changes; else as committed."""
        if self.in_step:
            return self._rows(self._writable(), statement, values)
        with self._reading:
            if self._reader is None:
                raise StateError(f"{self.path.parent} is closed; open it again.")
            return self._rows(self._reader, statement, values)

    def _rows(self, connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"{self.path} could not be read ({error}); restore a copy.") from error

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Write within a step; returns the number of the inserted row, if any."""
        if not self._depth:
            raise RuntimeError("written outside a step")
        try:
            return self._writable().execute(statement, values).lastrowid or 0
        except sqlite3.Error as error:
            raise StateError(f"{self.path} could not be written ({error}); nothing of this step was kept.") from error

    @contextmanager
    def step(self) -> Iterator[None]:
        """Everything written within the block is kept, or nothing. A step nested in this thread's is part of it."""
        with self.stepping:
            writer = self._writable()
            if self._depth:
                yield
                return
            try:
                writer.execute("BEGIN IMMEDIATE")
                self._depth = 1
                try:
                    yield
                    writer.execute("COMMIT")
                except BaseException:
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")
                    raise
                finally:
                    self._depth = 0
            except sqlite3.Error as error:
                raise StateError(
                    f"{self.path} could not be written ({error}); nothing of this step was kept."
                ) from error

    @property
    def in_step(self) -> bool:
        """Whether this thread is in a step."""
        if not self._depth or not self.stepping.acquire(blocking=False):
            return False
        self.stepping.release()
        return bool(self._depth)

    @property
    def read_only(self) -> bool:
        return self._writer is None

    def _writable(self) -> sqlite3.Connection:
        if self._writer is None:
            raise StateError(f"{self.path.parent} is closed, or open read-only; open it for writing.")
        return self._writer

    def fold_log(self) -> None:
        """Fold the write-ahead log into the database, so that it holds no deleted content; as far as readers allow."""
        with self.stepping:
            self._rows(self._writable(), "PRAGMA wal_checkpoint(TRUNCATE)", ())

    def close(self) -> None:
        """Close the connections."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
            self._reader = None
        if self._writer is not None:
            self._writer.close()
        self._writer = None
