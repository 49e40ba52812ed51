"""One writer at a time: an advisory lock on a file that says who holds it. The system drops it when the process dies.

So does a lock on a folder that is being written: what is found without it is of a process that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.galleries.errors import GalleryError, GalleryLocked

_UNFINISHED = ".crossreid-unfinished"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write in; what has not been moved out of it or renamed is removed at the end.

    Those that processes left there that were killed are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    folder, descriptor = _held(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_unfinished(parent: Path) -> None:
    """Remove what `unfinished` made here in processes that are gone."""
    for path in parent.glob(f".*{_UNFINISHED}"):
        with contextlib.suppress(OSError):  # it is being written, another user's, or gone
            descriptor = os.open(path, _FOLDER)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _held(path: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=_UNFINISHED))
        try:
            descriptor = os.open(folder, _FOLDER)
        except FileNotFoundError:
            continue  # removed as one that nobody holds, before it was held
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                return folder, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # likewise
        except OSError:
            return folder, descriptor  # a file system without locks, where nobody removes it either
        os.close(descriptor)
