"""An append-only event file, one line per event: each event is in it exactly once, even if a writer is killed.

The event numbers in the file itself give its progress. A partial last line left by a killed process or a power cut is
removed before more is appended, and events already in the file are skipped. If the file is renamed meanwhile, as by log
rotation, a new one is started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event
from crossreid.watching.sinks.sink import SinkFault

_BLOCK = 65_536  # bytes read at a time, from the end


class LineFile:
    """Appends events to a file, created if missing. Only the process that holds the lock of the watch writes it.

    `last` is the number of its last event.

    Args:
        path: the file.
        line_of: returns the line of an event, without the line end and with no line feed.
        number_of: returns the event number of a line. Raises `ValueError` for any other line.
        heading: the first line, if the format has one.

    Raises:
        CrossreidError: the file's last complete line is not an event; the file is left unchanged.
        OSError: it cannot be read or written.
    """

    name = "lines"

    def __init__(
        self,
        path: Path,
        line_of: Callable[[Event], str],
        number_of: Callable[[str], int],
        heading: str | None = None,
    ) -> None:
        self.path, self._line_of, self._heading = path, line_of, heading
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(path)
        try:
            self.last = self._mend(number_of)
        except BaseException:
            self.close()
            raise

    def send(self, events: Sequence[Event]) -> None:
        """Append the events that the file lacks. Raises `SinkFault` if not all could be written."""
        new = [event for event in events if event.number > self.last]
        if new:
            self._follow()
            self._append("".join(f"{self._line_of(event)}\n" for event in new))
            self.last = new[-1].number

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _append(self, text: str) -> None:
        content = text.encode()
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, content)
        except OSError as error:
            raise SinkFault(f"{self.path} cannot be written: {error.strerror}.") from error
        if written != len(content):
            os.ftruncate(self._file, before)  # the next try starts where this one did
            raise SinkFault(f"{self.path}: wrote only {written} of {len(content)} bytes; free some disk space.")

    def _follow(self) -> None:
        """Reopen the path if it is no longer this file."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                return
        self.close()
        self._file = _opened(self.path)
        self._begin()

    def _begin(self) -> None:
        """Write the heading of an empty file."""
        if self._heading is not None and not os.fstat(self._file).st_size:
            self._append(f"{self._heading}\n")

    def _mend(self, number_of: Callable[[str], int]) -> int:
        """Remove a partial last line; returns the number of the last event, 0 if there is none."""
        size = before = os.fstat(self._file).st_size
        last = b""
        while size:
            start, last = _last_line(self._file, size)
            if last.endswith(b"\n") and b"\0" not in last:
                break
            size = start
        if size != before:
            os.ftruncate(self._file, size)
        if not size:
            self._begin()
            return 0
        line = last.decode(errors="replace").removesuffix("\n")
        if line == self._heading:
            return 0
        try:
            return number_of(line)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise CrossreidError(
                f"{self.path} is not an event file: its last line is {line[:80]!r}. Move it away; it will be rewritten from the "
                "state of the watch."
            ) from error


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _last_line(file: int, size: int) -> tuple[int, bytes]:
    """The start of the last line within the first `size` bytes, and the line with its line end, if any."""
    tail, start = b"", size
    while start:
        begin = max(0, start - _BLOCK)
        tail = os.pread(file, start - begin, begin) + tail
        start = begin
        found = tail.rfind(b"\n", 0, len(tail) - 1)
        if found >= 0:
            return start + found + 1, tail[found + 1 :]
    return 0, tail
