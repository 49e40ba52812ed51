"""The audit log: who searched for what, and what they were shown. One JSON object per line, one file per day (UTC).

A line is written before its answer is sent; if it cannot be written, there is no answer. It survives the death of the
process, but not a power failure in the last moments. Several processes may write: the file is locked for each write, so
lines stay whole, and a line that a killed process left unfinished is ended before the next.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any


class Audit:
    """Appends to `FOLDER/audit-YYYY-MM-DD.jsonl`, readable only by their owner. Safe to call from any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._day: date | None = None
        self._file = -1
        self._path = folder

    def write(self, action: str, facts: Mapping[str, Any]) -> None:
        """Append a line. Raises `OSError` if the disk does not take it."""
        now = datetime.now(UTC)
        line = json.dumps({"time": now.isoformat(timespec="milliseconds"), "action": action, **facts}) + "\n"
        content = line.encode()
        with self._lock:
            if now.date() != self._day or self._is_elsewhere():
                self._open(now.date())
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._append(content)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _append(self, content: bytes) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            content = b"\n" + content
        written = os.write(self._file, content)
        if written != len(content):
            os.ftruncate(self._file, size)  # so that the next line starts on its own
            raise OSError(
                f"the audit log in {self.folder} took {written} of {len(content)} bytes; free some disk space."
            )

    def forget(self, days: int) -> int:
        """Delete the files of days that ended more than `days` ago; returns how many."""
        count = 0
        for path in self.folder.glob("audit-*.jsonl"):
            try:
                day = date.fromisoformat(path.stem.removeprefix("audit-"))
            except ValueError:
                continue  # not ours
            if day < datetime.now(UTC).date() - timedelta(days=days):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file, self._day = -1, None

    def _is_elsewhere(self) -> bool:
        """Whether the day's file was renamed or deleted."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(named, os.fstat(self._file))

    def _open(self, day: date) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file, self._day = -1, None
        path = self._path = self.folder / f"audit-{day.isoformat()}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._day = day
