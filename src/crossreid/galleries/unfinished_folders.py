"""Folders that appear under their name once complete: written under a hidden name, then renamed.

The hidden folder is locked while its process lives. One found unlocked belongs to a dead process and is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.files import fsync_file, fsync_folder
from crossreid.galleries.errors import GalleryError

_UNFINISHED = ".crossreid-unfinished"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write in; whatever was not moved out or renamed is removed at the end.

    Those left by killed processes are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    folder, descriptor = _held(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def publish(temporary: Path, folder: Path) -> None:
    """Give a written folder its name, durably; accessible to its owner only. Raises `GalleryError` if it exists."""
    for path in temporary.iterdir():
        fsync_file(path)
    fsync_folder(temporary)
    try:
        temporary.rename(folder)
    except OSError as error:
        raise GalleryError(f"{folder} already exists; give a new path ({error.strerror}).") from error
    fsync_folder(folder.parent)


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
