"""The lock of a job's folder: a file a process, so that a second job that writes there is noticed and refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from crossreid.data.records import DataError


@contextmanager
def locked(parts: Path, rank: int) -> Iterator[None]:
    """Hold this process's own lock; the first process (`rank` 0) makes sure that no other job's process holds one.

    Raises:
        DataError: another process is embedding into this folder; it is named.
    """
    with open(parts / f"lock-{rank}", "a+", encoding="utf-8") as own:
        _take(own, parts)
        if rank == 0:
            for other in sorted(parts.glob("lock-*")):
                if other.name != "lock-0":
                    with open(other, "a+", encoding="utf-8") as held:
                        _take(held, parts)
        own.seek(0)
        own.truncate()
        own.write(str(os.getpid()))
        own.flush()
        yield


def _take(lock: TextIO, parts: Path) -> None:
    try:
        # Not flock, which loader processes would inherit and, for seconds, survive a killed parent with.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # what else the system says is not that another holds it
        lock.seek(0)
        raise DataError(
            f"{parts.parent}: process {lock.read().strip() or 'of another job'} is embedding into it. Wait for it to end, "
            "stop it, or choose another --out."
        ) from error
