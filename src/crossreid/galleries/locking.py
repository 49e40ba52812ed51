"""One writer at a time: a file lock that says who holds it."""

from __future__ import annotations

from pathlib import Path

from crossreid import files
from crossreid.galleries.errors import GalleryError, GalleryLocked

unlock = files.unlock


def lock(path: Path, otherwise: str = "Close it there, or open it read-only to search.") -> int:
    """Lock a file and return its descriptor, which `unlock` closes. `otherwise` is the advice if the lock is held.

    Raises:
        GalleryLocked: it is held; the message names the holder.
        GalleryError: the folder cannot be written.
    """
    try:
        return files.lock(path)
    except files.Held as held:
        raise GalleryLocked(f"{path.parent} is open for writing by {held}. {otherwise}") from held
    except OSError as error:
        raise GalleryError(
            f"{path.parent} is not writable ({error.strerror}); only search, stats, recall and snapshot work without writing."
        ) from error
