"""What a worker shares with the others on its machine, so that it does not matter which of them answers.

Limits are shared by all (`shared_memory`). Several may change entries at a time, but those of one id one after another, and none
while kept images without an entry are looked for. One of them does the housekeeping; if it dies, another takes over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from crossreid import files
from crossreid.errors import CrossreidError
from crossreid.galleries import locking
from crossreid.galleries.errors import GalleryError, GalleryLocked
from crossreid.service.leftovers import Leftovers
from crossreid.service.rate_limits import SharedTokenBuckets, TokenBuckets
from crossreid.service.shared_memory import SharedMemory, number_of
from crossreid.service.shares import SharedShares, Shares

_STRIPES = 64  # bytes of the lock file that stand for ids
_CHANGES, _GATE, _CORRECTIONS = _STRIPES, _STRIPES + 1, _STRIPES + 2  # and further bytes


class Siblings:
    """A process that serves a gallery alone: its own limits, and nobody to wait for."""

    worker, count = 0, 1
    metrics: Path | None = None  # the folder of figures to add up

    def __init__(self, places: int) -> None:
        self.buckets, self.shares, self.leftovers = TokenBuckets(), Shares(places), Leftovers()

    def changing(self, ids: Sequence[str] = ()) -> AbstractContextManager[None]:
        """Change entries; those of these ids exclusively."""
        return contextlib.nullcontext()

    def sorting_out(self) -> AbstractContextManager[None]:
        """Nobody else changes entries until the block ends."""
        return contextlib.nullcontext()

    def correcting(self) -> AbstractContextManager[None]:
        """Nobody else corrects a watch until the block ends."""
        return contextlib.nullcontext()

    def keeps_house(self) -> bool:
        """Whether this one does the housekeeping, from now until it ends."""
        return True

    def close(self) -> None:
        """Release what is shared to the others."""


class SharingSiblings(Siblings):
    """Worker `worker` of `count`, in the state folder that `prepare` has set up."""

    def __init__(self, state: Path, places: int, worker: int, count: int) -> None:
        memory = SharedMemory(state / "limits", places)
        self.worker, self.count, self.metrics = worker, count, state / "metrics"
        self.buckets = SharedTokenBuckets(memory)
        self.shares = SharedShares(places, memory, worker)
        self.leftovers = Leftovers(memory, worker)
        self._locks = _ByteLocks(state / "locks")
        self._house = state / "housekeeping"
        self._keeper: int | None = None

    @contextlib.contextmanager
    def changing(self, ids: Sequence[str] = ()) -> Iterator[None]:
        with self._locks.held(_GATE, shared=True):
            changes = self._locks.held(_CHANGES, shared=True)
            changes.__enter__()
        with contextlib.ExitStack() as stack:
            stack.push(changes)
            for stripe in sorted({number_of(id) % _STRIPES for id in ids}):  # in a fixed order, to avoid deadlocks
                stack.enter_context(self._locks.held(stripe))
            yield

    @contextlib.contextmanager
    def sorting_out(self) -> Iterator[None]:
        # The gate admits no new change, so that the running ones finish eventually.
        with self._locks.held(_GATE), self._locks.held(_CHANGES):
            yield

    def correcting(self) -> AbstractContextManager[None]:
        return self._locks.held(_CORRECTIONS)

    def keeps_house(self) -> bool:
        if self._keeper is None:
            try:
                self._keeper = files.lock(self._house)
            except files.Held:
                return False
        return True

    def close(self) -> None:
        if self._keeper is not None:
            files.unlock(self._keeper)
            self._keeper = None


class _ByteLocks:
    """Locks on bytes of a file, which the system releases with the process that holds them. One thread at a time per byte."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._threads = [threading.Lock() for _ in range(_CORRECTIONS + 1)]

    @contextlib.contextmanager
    def held(self, byte: int, *, shared: bool = False) -> Iterator[None]:
        """The lock on a byte, exclusive or shared, until the block ends."""
        with self._threads[byte]:
            fcntl.lockf(self._file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, 1, byte)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


def lock_state(state: Path) -> int:
    """The lock on a service's folder. Raises `CrossreidError` if it cannot be taken."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        return locking.lock(state / "lock")
    except GalleryLocked as error:
        raise CrossreidError(f"another service keeps its state in {state}; choose another --state.") from error
    except (OSError, GalleryError) as error:
        raise CrossreidError(f"{state} cannot be created or written; choose another --state.") from error


def prepare(state: Path, places: int) -> SharedMemory:
    """Set up a state folder, whose lock the caller holds, for workers: limits and figures start anew.

    Raises `CrossreidError` if it cannot be written.
    """
    try:
        shutil.rmtree(state / "metrics", ignore_errors=True)
        (state / "metrics").mkdir(mode=0o700)
        return SharedMemory.create(state / "limits", places)
    except OSError as error:
        raise CrossreidError(f"{state} cannot be written ({error.strerror}); choose another --state.") from error
