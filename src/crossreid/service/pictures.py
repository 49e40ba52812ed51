"""The image of an entry: a small copy that the service kept, or the file that its source names below a folder allowed.

Whatever is shown is decoded and written anew as JPEG: nothing of the file's metadata, such as where it was taken, goes out.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from crossreid.data.images import load_image
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.galleries.entries import Entry
from crossreid.galleries.fragments import file_of

KEPT_SIDE = 512  # pixels, the longer side of a copy that is kept
_MANY = 500  # ids at a time


class Kept:
    """Copies of enrolled images of one gallery in one SQLite file, overwritten as they are deleted. Safe to call from any thread.

    `gallery` is its uuid. Raises `CrossreidError` where the file is another gallery's, or none.
    """

    def __init__(self, path: Path, gallery: str) -> None:
        self.traces = True  # whether the file may hold traces of deleted ones
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            for pragma in ("secure_delete=ON", "journal_mode=WAL", "synchronous=FULL"):
                self._database.execute(f"PRAGMA {pragma}")
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

    def put(self, images: Sequence[tuple[str, bytes]]) -> None:
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?)", images)

    def get(self, id: str) -> bytes | None:
        with self._lock:
            row = self._database.execute("SELECT jpeg FROM images WHERE id = ?", (id,)).fetchone()
        return None if row is None else bytes(row[0])

    def has(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that have one."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id FROM images WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
            ).fetchall()
        return {row[0] for row in rows}

    def ids(self) -> Iterator[list[str]]:
        """All ids, in parts."""
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
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            gone = self._database.executemany("DELETE FROM images WHERE id = ?", [(id,) for id in ids]).rowcount
            self.traces = self.traces or gone > 0

    def compact(self) -> None:
        """Leave nothing of deleted images in the file nor in its log."""
        with self._lock:
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.traces = False

    def close(self) -> None:
        with self._lock:
            self._database.close()


class Pictures:
    """Where images of entries are found. `roots` are the folders below which files may be shown."""

    def __init__(self, roots: Sequence[Path], kept: Kept | None = None) -> None:
        self.roots = [root.resolve() for root in roots]
        self.kept = kept

    def known(self, entries: Sequence[Entry]) -> list[bool]:
        """Whether each entry has an image to show."""
        kept = self.kept.has([entry.id for entry in entries]) if self.kept is not None else set()
        return [entry.id in kept or file_of(entry.source, self.roots) is not None for entry in entries]

    def pixels(self, entry: Entry) -> np.ndarray | None:
        """`(H, W, 3)` uint8 RGB, of a source with a box that part; None where there is no image or it cannot be read."""
        if self.kept is not None and (content := self.kept.get(entry.id)) is not None:
            return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        found = file_of(entry.source, self.roots)
        if found is None:
            return None
        try:
            return load_image(Record(found[0], "", box=found[1]))
        except (DataError, OSError):
            return None


def as_jpeg(pixels: np.ndarray, side: int) -> bytes:
    """Pixels `(H, W, 3)` uint8 as JPEG, shrunk to `side` pixels where longer."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()
