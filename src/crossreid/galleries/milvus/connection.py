"""A client of Milvus: pymilvus, the file of Milvus Lite with its lock, and Milvus's errors as ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossreid.extras import needed
from crossreid.galleries import locking
from crossreid.galleries.errors import GalleryError, GalleryFault, closed
from crossreid.galleries.location import is_lite

_LOCK = "crossreid.lock"


def require_pymilvus(location: str) -> None:
    """Raise `MissingExtra` if the package that a location needs is not installed."""
    for name in ("pymilvus", *(("milvus_lite",) if is_lite(location) else ())):
        needed(name, "a Milvus gallery")
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they also raise what they log


def lite_is_there(folder: Path) -> bool:
    """Whether a folder belongs to Milvus Lite, ours or another program's. Raises `GalleryError` for a file."""
    if folder.is_file():
        raise GalleryError(f"{folder} is a file; expected a folder of Milvus Lite 3, which older versions cannot read.")
    return (folder / _LOCK).is_file() or (folder / "LOCK").is_file()  # the second is Milvus Lite's own


def refuse_foreign(folder: Path) -> None:
    """Raise `GalleryError` for a folder with other content."""
    if folder.is_dir() and any(folder.iterdir()):
        raise GalleryError(f"{folder} already exists and is not Milvus Lite's; give a new path.")


class Connection:
    """A client of Milvus at a location; for a Milvus Lite file, also the lock that keeps other processes out.

    Raises `GalleryLocked` if another process has the file, `GalleryFault` if Milvus refuses.
    """

    def __init__(self, location: str, token: str | None) -> None:
        self.location, self.lite = location, is_lite(location)
        self._lock: int | None = None
        if self.lite:
            folder = Path(location)
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locking.lock(
                folder / _LOCK,
                "Milvus Lite can be open in only one process at a time, even for searching; close it there.",
            )
        self.client: Any = None
        from pymilvus import MilvusClient

        try:
            with self.faults():
                self.client = MilvusClient(location, token=token or "")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Raise Milvus's errors as `GalleryFault`."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise GalleryFault(f"Milvus at {self.location}: {error.message or error}") from error

    def close(self) -> None:
        """Close the client, stop Milvus Lite and release its file. The client then refuses all requests."""
        if self.client is not None:
            self.client.close()
            self.client = _Closed(self.location)
            if self.lite:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self.location)
        if self._lock is not None:
            locking.unlock(self._lock)
            self._lock = None


class _Closed:
    """The replacement for a closed client."""

    def __init__(self, location: str) -> None:
        self._location = location

    def close(self) -> None:
        """Do nothing: it is already closed."""

    def __getattr__(self, name: str) -> Any:
        raise closed(self._location)
