"""Small copies of enrolled images, shown where the sources cannot be.

Workers of one service share the open file; each waits up to a minute for another that writes. The file itself records
(`user_version`) that deleted images may have left traces, so that whichever worker compacts it knows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from crossreid.errors import CrossreidError

KEPT_SIDE = 512  # pixels, the longer side of a copy
_MANY = 500  # ids at a time
_WAIT = 60.0  # seconds


class KeptImages:
    """Copies of enrolled images of one gallery in one SQLite file; deleted ones are overwritten. Safe to call from any thread.

    `gallery` is its uuid. Raises `CrossreidError` if the file is another gallery's, or not such a file.
    """

    def __init__(self, path: Path, gallery: str) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_WAIT)
            for pragma in ("secure_delete=ON", "journal_mode=WAL", "synchronous=FULL"):
                self._database.execute(f"PRAGMA {pragma}")
            self.traces = True  # of an earlier service
            self._database.execute("CREATE TABLE IF NOT EXISTS images (id TEXT PRIMARY KEY, jpeg BLOB NOT NULL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS kept_for (gallery TEXT PRIMARY KEY)")
            self._database.execute(
                "INSERT INTO kept_for SELECT ? WHERE NOT EXISTS (SELECT * FROM kept_for)", (gallery,)
            )
            ((owner,),) = self._database.execute("SELECT gallery FROM kept_for").fetchall()
        except (OSError, sqlite3.Error) as error:
            raise CrossreidError(
                f"{path} cannot be opened as a file of kept images ({error}); name another --state."
            ) from error
        if owner != gallery:
            self._database.close()
            raise CrossreidError(
                f"{path} keeps images of another gallery. Name another --state, or remove the file if that gallery is gone."
            )

    @property
    def traces(self) -> bool:
        """Whether the file may hold traces of deleted ones."""
        with self._lock:
            return bool(self._database.execute("PRAGMA user_version").fetchone()[0])

    @traces.setter
    def traces(self, there: bool) -> None:
        with self._lock:
            self._database.execute(f"PRAGMA user_version = {int(there)}")

    def put(self, images: Sequence[tuple[str, bytes]]) -> None:
        """Keep each `(id, JPEG)`, replacing what was kept for the same id."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?)", images)

    def get(self, id: str) -> bytes | None:
        """The JPEG of an id, if one is kept."""
        with self._lock:
            row = self._database.execute("SELECT jpeg FROM images WHERE id = ?", (id,)).fetchone()
        return None if row is None else bytes(row[0])

    def has(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that have an image."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id FROM images WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
            ).fetchall()
        return {row[0] for row in rows}

    def ids(self) -> Iterator[list[str]]:
        """All ids, in chunks."""
        last = ""
        while True:
            with self._lock:
                rows = self._database.execute(
                    "SELECT id FROM images WHERE id > ? ORDER BY id LIMIT ?", (last, _MANY)
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [row[0] for row in rows]

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the images of some ids; ids without one are skipped."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            gone = self._database.executemany("DELETE FROM images WHERE id = ?", [(id,) for id in ids]).rowcount
            if gone:
                self._database.execute("PRAGMA user_version = 1")

    def compact(self) -> None:
        """Remove all traces of deleted images from the file and its log.

        Raises `sqlite3.Error` if another process had it open for too long; then there may still be traces.
        """
        self.traces = False  # what is deleted from here on counts again
        try:
            with self._lock:
                self._database.execute("VACUUM")
                ((busy, _, _),) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if busy:
                raise sqlite3.OperationalError("the log of kept images is constantly read by another process")
        except BaseException:
            self.traces = True
            raise

    def close(self) -> None:
        with self._lock:
            self._database.close()
