"""The lock of a job's folder: one file per process, so that a second job writing there is noticed and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.data.addresses import Address, Place
from crossreid.data.records import DataError
from crossreid.files import Held, lock, unlock


@contextmanager
def locked(parts: Place, rank: int) -> Iterator[None]:
    """Hold this process's lock; the first process (`rank` 0) makes sure that no other job's process holds one.

    A store has no locks and needs none: jobs with the same plan write the same chunks under the same names, and a job
    with another plan is refused because of the existing one.

    Raises:
        DataError: another process is embedding into this folder; the message names it.
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
