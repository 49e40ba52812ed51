"""Image files in a folder and its subfolders, and paths that a table can hold."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path

from crossreid.data.addresses import Address, Place, objects_below
from crossreid.data.image_names import LeftOut, is_image, reason_left_out

# Errors about one folder, as opposed to a disk, a network or a limit.
_NOT_GIVEN = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def images_below(
    folder: Path, leave_out: Callable[[Path, str], None], passed_over: LeftOut | None = None
) -> list[Path]:
    """Return files with image suffixes, at any depth, by path; hidden and other files are skipped and counted.

    Symlinks to folders are followed, each folder once: by its own path if that is below `folder`, else by that of the
    first link. `leave_out` is called with unreadable folders and broken links that may lead to one, and the reason.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        # Links are followed only when all folders reachable without them have been visited.
        above = folders.popleft() if folders else links.popleft()
        try:
            about = above.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(above) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if error.errno not in _NOT_GIVEN:
                raise
            leave_out(above, f"it cannot be read as a folder: {error.strerror}. Fix that.")
            continue
        for entry in inside:
            path = Path(above, entry.name)
            named_image = is_image(entry.name)
            if entry.name.startswith("."):
                if passed_over is not None:
                    passed_over.add(str(path), "hidden")
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and _may_be_folder(path, named_image):
                links.append(path)
            elif named_image:
                found.append(path)
            elif passed_over is not None:
                passed_over.add(str(path), reason_left_out(entry.name))
    return sorted(found, key=lambda path: path.as_posix())


def image_objects_below(prefix: Address, passed_over: LeftOut) -> list[Address]:
    """Return objects with image suffixes, at any depth below an address, in order; hidden and other ones are counted.

    Raises `StorageError` or `DataError` if the store cannot be listed.
    """
    found = []
    start = len(prefix.text.rstrip("/")) + 1
    for address in objects_below(prefix):
        if any(part.startswith(".") for part in address.text[start:].split("/")):
            passed_over.add(address.text, "hidden")
        elif is_image(address.name):
            found.append(address)
        else:
            passed_over.add(address.text, reason_left_out(address.name))
    return sorted(found, key=Address.as_posix)


def _may_be_folder(link: Path, is_image: bool) -> bool:
    """Whether a link leads to a folder, or to nothing visible while its name has no image suffix."""
    try:
        return stat.S_ISDIR(link.stat().st_mode)
    except OSError as error:
        if error.errno not in _NOT_GIVEN:
            raise
        return not is_image


def is_utf8(path: Place) -> bool:
    """Whether a path can be written into a table."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(path: Place) -> str:
    """Return a path for people and for tables; bytes that are not UTF-8 appear as \\x.. ."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")
