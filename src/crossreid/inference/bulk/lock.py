"""The lock of a job's folder: a file a process, so that a second job that writes there is noticed and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.data.addresses import Address, Place
from crossreid.data.records import DataError
from crossreid.files import Held, lock, unlock


@contextmanager
def locked(parts: Place, rank: int) -> Iterator[None]:
    """Hold this process's own lock; the first process (`rank` 0) makes sure that no other job's process holds one.

    A store has no locks, and needs none: whoever writes there for the same plan writes the same chunks under the same names, and
    whoever has another plan is refused by the plan that is there.

    Raises:
        DataError: another process is embedding into this folder; it is named.
    """
    if isinstance(parts, Address):
        yield
        return
    own = _take(parts / f"lock-{rank}")
    try:
        if rank == 0:
            for other in sorted(parts.glob("lock-*")):
                if other.name != "lock-0":
                    unlock(_take(other))
        yield
    finally:
        unlock(own)


def _take(path: Path) -> int:
    try:
        return lock(path)
    except Held as holder:
        raise DataError(
            f"{path.parent.parent}: {holder} is embedding into it. Wait for it to end, stop it, or choose another --out."
        ) from holder
