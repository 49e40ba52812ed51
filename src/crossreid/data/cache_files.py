"""The file of a cache of pixels: images of one size as bytes, one after the other, followed by a table that identifies
them.

Space is allocated before anything is written, because a full disk kills a process that writes through a memory map; a
file gets its name only once it is complete and on disk. A killed process leaves a temporary file that the next one
removes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from crossreid.errors import CrossreidError
from crossreid.files import replacing

SUFFIX = ".images"
_MAGIC = b"crossreid pixels 1\n"
# Another version's pixels may differ: torch resizes, and the number is ours, for the steps before that.
MADE_BY = f"1, Pillow {PIL.__version__}"


class State(NamedTuple):
    """A file's size in bytes and its modification time in nanoseconds; both -1 if there is none."""

    size: int
    changed: int


NO_FILE = State(-1, -1)


class Row(NamedTuple):
    """One image of a cache: `what` names the picture and how it is read, `path` is its file.

    `readable`: whether it has pixels; if not, it could not be decoded.
    """

    what: str
    path: str
    state: State
    readable: bool


@dataclass(frozen=True, slots=True)
class Pack:
    """A cache's file: `rows[i]` are the pixels `i` of `(N, height, width, 3)`."""

    path: Path
    height: int
    width: int
    rows: tuple[Row, ...]

    def pixels(self) -> np.ndarray:
        """Return `(N, height, width, 3)` uint8, memory-mapped."""
        return mapped(self.path, len(self.rows), self.height, self.width)


def state_of(path: str) -> State:
    """Return the current state of a file."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return NO_FILE
    return State(about.st_size, about.st_mtime_ns)


def mapped(path: Path | str, count: int, height: int, width: int, *, writable: bool = False) -> np.ndarray:
    """Return the pixels at the beginning of a file, `(count, height, width, 3)` uint8, memory-mapped."""
    return np.memmap(path, dtype=np.uint8, mode="r+" if writable else "r", shape=(count, height, width, 3))


def take_space(path: Path | str, size: int) -> None:
    """Give a file its final length, with all space allocated. Raises `OSError` if there is not enough."""
    with open(path, "ab") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            os.truncate(stream.fileno(), size)


def write_pack(path: Path, count: int, height: int, width: int, fill: Callable[[Path], Sequence[Row]]) -> Pack:
    """Write a cache's file, whole or not at all.

    Args:
        fill: writes pixels into the given file, and returns their rows.

    Raises:
        NoSpace: the disk has no space for it.
    """
    with replacing(path, durable=True) as temporary:
        take_space(temporary, count * height * width * 3)
        rows = tuple(fill(temporary))
        about = {
            "made_by": MADE_BY, "height": height, "width": width, "what": [row.what for row in rows],
            "paths": [row.path for row in rows], "sizes": [row.state.size for row in rows],
            "changed": [row.state.changed for row in rows], "readable": [int(row.readable) for row in rows],
        }  # fmt: skip
        table = json.dumps(about).encode()
        with temporary.open("ab") as stream:
            stream.write(table + len(table).to_bytes(8, "little") + _MAGIC)
    return Pack(path, height, width, rows)


def read_pack(path: Path) -> Pack | None:
    """Read what `write_pack` wrote; None if the file is truncated, damaged, or of another version."""
    end = 8 + len(_MAGIC)
    try:
        with path.open("rb") as stream:
            whole = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, whole - end))
            length = int.from_bytes(stream.read(8), "little")
            if stream.read() != _MAGIC or length + end > whole:
                return None
            stream.seek(whole - end - length)
            about = json.loads(stream.read(length))
        if about["made_by"] != MADE_BY:
            return None
        states = map(State, about["sizes"], about["changed"])
        rows = tuple(map(Row, about["what"], about["paths"], states, map(bool, about["readable"])))
        height, width = int(about["height"]), int(about["width"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Pack(path, height, width, rows) if whole == len(rows) * height * width * 3 + length + end else None


def gigabytes(count: int, height: int, width: int) -> str:
    """Say how much space `count` images of that size take."""
    size = count * height * width * 3
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"


def memory_left() -> int | None:
    """Return the bytes of free memory; None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def refuse_too_much(count: int, height: int, width: int) -> None:
    """Raise `CrossreidError` if the images do not fit in memory, or this system cannot share memory."""
    size, left = count * height * width * 3, memory_left()
    if not hasattr(os, "memfd_create"):
        raise CrossreidError("data.cache=memory needs Linux, to share memory among processes. Use data.cache=disk.")
    if left is not None and size > left:
        raise CrossreidError(
            f"data.cache=memory: {count:,} images of {height} x {width} take {gigabytes(count, height, width)}, but "
            f"only {left / 1e9:.1f} GB of memory are free. Use data.cache=disk."
        )
