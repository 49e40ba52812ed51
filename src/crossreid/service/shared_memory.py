"""Memory that the workers of a service on one machine share: a file in its state folder that each of them maps.

Nothing of it outlasts the service. A process holds the file's lock while it changes it; the system releases the lock of a process
that dies, so a killed worker blocks nobody. Whoever sees that it is gone gives back what it held (`release`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SETS, WAYS = 2048, 8  # of token buckets: if eight names share a set, the least recently used one is forgotten
_FLAGS = 64  # bytes before the one byte per worker
MOST_WORKERS = 64


class SharedMemory:
    """The file, mapped. `create` makes a new one; the process that starts the workers does that.

    Attributes:
        left: `(2,)` uint8, whether there may be images without entries, and traces of deleted entries (`leftovers`).
        changing: `(64,)` uint8, whether each worker is changing entries right now.
        names, owners: `(places,)` uint64 and int32, whose request holds each place, and at which worker (-1: free).
        bucket_names, bucket_left, bucket_at: `(2048, 8)`, names of token buckets, tokens left, and time of last update.
    """

    def __init__(self, path: Path, places: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._file, _size(places))
        at = 0

        def part(kind: type, *shape: int) -> np.ndarray:
            nonlocal at
            count = int(np.prod(shape))
            found: np.ndarray = np.frombuffer(self._map, kind, count, at).reshape(shape)
            at += -(-found.nbytes // 8) * 8
            return found

        self.left = part(np.uint8, _FLAGS)[:2]
        self.changing = part(np.uint8, MOST_WORKERS)
        self.bucket_names = part(np.uint64, SETS, WAYS)
        self.bucket_left = part(np.float64, SETS, WAYS)
        self.bucket_at = part(np.float64, SETS, WAYS)
        self.names = part(np.uint64, places)
        self.owners = part(np.int32, places)

    @classmethod
    def create(cls, path: Path, places: int) -> SharedMemory:
        """A new file: no requests yet, and nothing known about what was left before."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _size(places))  # a full disk is noticed now, and not by a signal later
        finally:
            os.close(descriptor)
        made = cls(path, places)
        made.owners[:] = -1
        made.left[:] = 1
        return made

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive among the processes. For one thread of each, and for microseconds."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def release(self, worker: int) -> None:
        """Give back what a worker that ended held; what it was changing may have left something behind."""
        with self.locked():
            self.owners[self.owners == worker] = -1
            if self.changing[worker]:
                self.left[:] = 1
                self.changing[worker] = 0


def number_of(name: str) -> int:
    """A name as 64 bits, never all zero."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _size(places: int) -> int:
    return _FLAGS + MOST_WORKERS + SETS * WAYS * 24 + -(-places * 8 // 8) * 8 + -(-places * 4 // 8) * 8
