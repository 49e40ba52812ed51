"""One writer at a time: an advisory lock on a file that says who holds it. The system drops it when the process dies."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from crossreid.galleries.errors import GalleryError, GalleryLocked


def lock(path: Path, otherwise: str = "Close it there, or open it read-only to search.") -> int:
    """Take the lock of a file and return its descriptor, which `unlock` closes. `otherwise` says what to do where it is held.

    Raises:
        GalleryLocked: it is held; the message says by whom.
        GalleryError: the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise GalleryError(
            f"{path.parent} cannot be written ({error.strerror}), and only search, stats, recall and snapshot do without."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 400, 0).decode(errors="replace").strip() or "a process that did not say who it is"
        os.close(descriptor)
        raise GalleryLocked(f"{path.parent} is open for writing by {holder}. {otherwise}") from error
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started} UTC".encode(), 0)
    return descriptor


def unlock(descriptor: int) -> None:
    """Give the lock back."""
    os.ftruncate(descriptor, 0)
    os.close(descriptor)
