"""Memory that the workers of a service on one machine share: a file in its folder of state that each of them maps.

Nothing of it outlasts the service. Who changes it holds the lock of the file, which the system drops with the process that dies, so
that a worker that is killed keeps nobody waiting. What it held is given back by whoever sees that it is gone (`release`).
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

SETS, WAYS = 2048, 8  # of token buckets: where eight names meet in a set, the one longest unheard of is forgotten
_FLAGS = 64  # bytes before a byte for each worker
MOST_WORKERS = 64


class SharedMemory:
    """The file, mapped. `create` makes it anew, which the process that starts the workers does.

    Attributes:
        left: `(2,)` uint8, whether there may be images without entries, and traces of deleted entries (`leftovers`).
        changing: `(64,)` uint8, whether each worker is just changing entries.
        names, owners: `(places,)` uint64 and int32, whose request has each place of those in hand, and at which worker (-1: free).
        bucket_names, bucket_left, bucket_at: `(2048, 8)`, names of token buckets, tokens that are left, and since when.
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
        """The file anew: nobody has asked for anything, and nothing is known of what was left before."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _size(places))  # a full disk is found now, and not by a signal later
        finally:
            os.close(descriptor)
        made = cls(path, places)
        made.owners[:] = -1
        made.left[:] = 1
        return made

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes. For one thread of each, and for microseconds."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def release(self, worker: int) -> None:
        """Give back what a worker had that is gone; what it was just changing may have left something."""
        with self.locked():
            self.owners[self.owners == worker] = -1
            if self.changing[worker]:
                self.left[:] = 1
                self.changing[worker] = 0


def number_of(name: str) -> int:
    """A name as 64 bits, none of which are all zero."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _size(places: int) -> int:
    return _FLAGS + MOST_WORKERS + SETS * WAYS * 24 + -(-places * 8 // 8) * 8 + -(-places * 4 // 8) * 8
