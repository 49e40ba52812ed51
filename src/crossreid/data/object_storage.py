"""List, read and write objects in stores with fsspec; errors are one line.

Keys, endpoints and profiles are fsspec's own configuration (FSSPEC_S3_ENDPOINT_URL, ~/.config/fsspec, the stores' own
variables) and never pass through here. fsspec is imported at the first access to an address.

A store replaces an object as a whole, so writes need no temporary name: what a killed process had not finished does not
exist. A multipart write may leave parts in the store that no reader sees; its lifecycle rules remove them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.extras import install

THREADS = 16  # concurrent requests per process
BLOCK = 64 << 20  # bytes per request for a large object
_SMALL = 8 << 20  # bytes up to which an object is written in one request
_IN_PARTS = (
    "s3",
    "s3a",
    "gs",
    "gcs",
)  # whose parts are invisible until the last; elsewhere one request writes everything
# Without user configuration, a missing store is reported within seconds. s3fs retries five more times what a busy store
# refuses.
_PATIENCE: dict[str, dict[str, Any]] = {
    name: {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 3}}} for name in ("s3", "s3a")
}
T = TypeVar("T")
R = TypeVar("R")


class StorageError(CrossreidError):
    """A failed request to a store; the message gives the address, the reason, and what to do."""


class Denied(StorageError):
    """A request that a store forbids."""


class NotThere(DataError):
    """There is no object or bucket of that name."""


class Listed(NamedTuple):
    """An object, or a prefix, by its name below what was listed; `state` is (size in bytes, a version number)."""

    name: str
    state: tuple[int, int]
    prefix: bool


def listed(address: str, *, deep: bool = False) -> Iterator[Listed]:
    """Yield what is directly below an address, or with `deep` all objects at any depth; nothing if there is nothing.

    Raises:
        NotThere: there is no such bucket.
        StorageError: the store cannot be reached, or forbids it.
    """
    with _asking(address, "listed"):
        files, path = _files(address)
        files.invalidate_cache()  # others also write there
        try:
            found = files.find(path, detail=True).values() if deep else files.ls(path, detail=True)
        except NotADirectoryError:
            return
        except FileNotFoundError:
            if files.exists(_bucket(files, path)):
                return
            raise
    below = path.rstrip("/") + "/"
    for about in found:
        name = _key(files, about["name"])
        if name.startswith(below) and name != below:
            yield Listed(name[len(below) :].rstrip("/"), _state(about), about.get("type") == "directory")


def is_object(address: str) -> bool:
    """Return whether there is an object of this name. Raises `StorageError` if the store cannot be reached."""
    with _asking(address, "found"):
        files, path = _files(address)
        files.invalidate_cache()
        try:
            return bool(files.info(path)["type"] == "file")
        except FileNotFoundError:
            return False


def read(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return an object's bytes, or those from `start` to before `end`, fewer if it is shorter.

    Raises:
        NotThere: there is no such object.
        StorageError: the store does not return it.
    """
    with _asking(address, "read"):
        files, path = _files(address)
        return bytes(files.cat_file(path, start=start, end=end))


def write(address: str, pieces: Iterable[bytes], *, new: bool = False) -> None:
    """Write an object, whole or not at all: small ones in one request, others in parts that become an object at the
    end.

    Args:
        new: only if there is none of this name; checked atomically by stores with conditions (S3, GCS), beforehand by
            others.

    Raises:
        FileExistsError: with `new`, it exists.
        StorageError: the store does not accept it.
    """
    pieces = iter(pieces)
    first = bytearray()
    whole = address.partition("://")[0] not in _IN_PARTS
    for piece in pieces:
        first += piece
        if len(first) > _SMALL and not whole:
            break
    else:
        with _asking(address, "written"):
            files, path = _files(address)
            files.pipe_file(path, bytes(first), mode="create" if new else "overwrite")
        return
    with _asking(address, "written"):
        files, path = _files(address)
        stream = files.open(path, "xb" if new else "wb", autocommit=False)
    try:
        for piece in chain([bytes(first)], pieces):
            with _asking(address, "written"):
                stream.write(piece)
        with _asking(address, "written"):
            stream.close()
            stream.commit()
    except BaseException:
        with suppress(Exception):
            stream.discard()
        stream.closed = True  # else the rest is sent when the stream is garbage-collected
        raise


def delete(address: str, *, missing_ok: bool = False) -> None:
    """Delete an object. Raises `NotThere`, unless `missing_ok`, and `StorageError`."""
    with _asking(address, "deleted"):
        files, path = _files(address)
        try:
            files.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise


def ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int = THREADS) -> Iterator[R]:
    """Yield `function` of each item, in order, with at most `threads` in flight."""
    items = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: list[Future[R]] = [pool.submit(function, item) for item in islice(items, threads)]
        try:
            while waiting:
                found = waiting.pop(0).result()
                waiting += [pool.submit(function, item) for item in islice(items, 1)]
                yield found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `function` of each item, in order, computed by several threads."""
    return list(ahead(function, items)) if items else []


# The file systems of this process: fsspec makes one per thread, each with its own connections and credentials.
_OPEN: dict[tuple[int, str], Any] = {}
_OPENING = threading.Lock()


def _after_fork() -> None:
    """Give a child new locks, because one held by a thread of the parent would be held for ever; leave the parent's
    file systems untouched.

    They are kept, because closing one would remove its sockets from the loop that parent and child share.
    """
    global _OPENING
    _OPENING = threading.Lock()
    if "fsspec.asyn" in sys.modules:
        sys.modules["fsspec.asyn"].reset_lock()


os.register_at_fork(after_in_child=_after_fork)


def _files(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and its name for the address."""
    scheme = address.partition("://")[0]
    with _OPENING:
        files = _OPEN.get((os.getpid(), scheme))
        if files is None:
            import fsspec

            chosen = fsspec.config.conf.get(scheme, {})
            patience = {key: value for key, value in _PATIENCE.get(scheme, {}).items() if key not in chosen}
            files = _OPEN[os.getpid(), scheme] = fsspec.filesystem(scheme, skip_instance_cache=True, **patience)
    return files, str(files._strip_protocol(address))


def _bucket(files: Any, path: str) -> str:
    return path.strip("/").partition("/")[0]


def _key(files: Any, name: str) -> str:
    return str(files._strip_protocol(name)) + ("/" if name.endswith("/") else "")


def _state(about: dict[str, Any]) -> tuple[int, int]:
    """Return (size, version): from the store's tag of the content, else from its modification time."""
    size = about.get("size")
    tag = about.get("ETag") or about.get("etag") or about.get("md5Hash")
    changed = tag or about.get("LastModified") or about.get("mtime") or about.get("updated") or about.get("created")
    version = -1 if changed is None else int.from_bytes(hashlib.sha256(str(changed).encode()).digest()[:7], "big")
    return (-1 if size is None else int(size)), version


@contextmanager
def _asking(address: str, done: str) -> Iterator[None]:
    """Turn errors of a store or fsspec in the block into ours, which name the address."""
    try:
        yield
    except (CrossreidError, FileExistsError):
        raise
    except Exception as error:
        raise _told(address, done, error) from error


def _told(address: str, done: str, error: Exception) -> CrossreidError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    scheme = address.partition("://")[0]
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, ImportError):
        return StorageError(
            f"{address}: {scheme}:// needs a package that is not installed ({reason}): {install('storage')}."
        )
    if isinstance(error, ValueError) and "protocol not known" in str(error).lower():
        from fsspec.registry import known_implementations

        usual = ", ".join(_usual(known_implementations))
        return StorageError(f"{address}: {scheme}:// is unknown. Expected a path, or one of {usual}.")
    if isinstance(error, FileNotFoundError):
        what = "there is no such bucket" if "bucket" in str(error).lower() else "not found"
        return NotThere(f"{address}: {what}. Check the address, and the endpoint configured for fsspec.")
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}:
        return Denied(
            f"{address} cannot be {done}: no credentials ({reason}). Set them as for the store's own tools, for example with "
            "AWS_PROFILE; docs/embedding_at_scale.md."
        )
    if isinstance(error, PermissionError):
        return Denied(
            f"{address} cannot be {done}: permission denied ({reason}). Check the permissions of the credentials."
        )
    if isinstance(error, NotImplementedError):
        return StorageError(
            f"{address} cannot be {done}: {scheme}:// does not support that. Use another store, or copy it here first."
        )
    if isinstance(error, ConnectionError | TimeoutError) or kinds & {
        "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectorError", "HTTPClientError",
        "ClientConnectionError",
    }:  # fmt: skip
        return StorageError(
            f"{address} cannot be {done}: the store does not answer ({reason}). Check the endpoint and the network."
        )
    return StorageError(f"{address} cannot be {done}: {reason}.")


def _usual(known: Iterable[str]) -> list[str]:
    return [
        f"{scheme}://" for scheme in ("s3", "gs", "az", "hdfs", "memory", "file") if scheme in known or scheme == "az"
    ]
