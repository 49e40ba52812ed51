"""Objects in stores, by fsspec: listed, read and written; what goes wrong is said in one line.

Keys, endpoints and profiles are fsspec's own configuration (FSSPEC_S3_ENDPOINT_URL, ~/.config/fsspec, the stores' own
variables) and never pass through here. fsspec is imported by the first address that is asked for.

A store replaces an object as a whole, so that a write needs no temporary name: what a process that was killed had not finished is
not there. Of a write in parts, parts that no reader sees may be left in the store; its lifecycle rules remove them.
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

THREADS = 16  # requests at once of a process
BLOCK = 64 << 20  # bytes of a request of a large object
_SMALL = 8 << 20  # bytes up to which an object is written by one request
_IN_PARTS = ("s3", "s3a", "gs", "gcs")  # whose parts no reader sees before the last; elsewhere one request writes all
# Where the user's configuration says nothing of it: a store that is not there is said within seconds. s3fs tries what a store
# that has too much to do refuses five times more.
_PATIENCE: dict[str, dict[str, Any]] = {
    name: {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 3}}} for name in ("s3", "s3a")
}
T = TypeVar("T")
R = TypeVar("R")


class StorageError(CrossreidError):
    """A store that does not do what it is asked; the message says which address, why, and what to do."""


class Denied(StorageError):
    """A store that forbids what it is asked for."""


class NotThere(DataError):
    """No object or bucket of that name."""


class Listed(NamedTuple):
    """An object, or a prefix, by its name below what was listed; `state` is (size in bytes, a number of its version)."""

    name: str
    state: tuple[int, int]
    prefix: bool


def listed(address: str, *, deep: bool = False) -> Iterator[Listed]:
    """What lies directly below an address, or with `deep` all objects at any depth; nothing where nothing does.

    Raises:
        NotThere: there is no such bucket.
        StorageError: the store cannot be asked, or forbids it.
    """
    with _asking(address, "listed"):
        files, path = _files(address)
        files.invalidate_cache()  # others write there too
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
    """Whether there is an object of this name. Raises `StorageError` where the store cannot be asked."""
    with _asking(address, "found"):
        files, path = _files(address)
        files.invalidate_cache()
        try:
            return bool(files.info(path)["type"] == "file")
        except FileNotFoundError:
            return False


def read(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """An object's bytes, or those from `start` to before `end`, fewer where it ends before.

    Raises:
        NotThere: there is no such object.
        StorageError: the store does not give it out.
    """
    with _asking(address, "read"):
        files, path = _files(address)
        return bytes(files.cat_file(path, start=start, end=end))


def write(address: str, pieces: Iterable[bytes], *, new: bool = False) -> None:
    """Write an object, whole or not at all: small ones by one request, others in parts that become an object at the end.

    Args:
        new: only where there is none of this name; stores that know conditions (S3, GCS) see to it at once, others before.

    Raises:
        FileExistsError: with `new`, there is one.
        StorageError: the store does not take it.
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
        stream.closed = True  # or what is left is sent when the stream is forgotten
        raise


def delete(address: str, *, missing_ok: bool = False) -> None:
    """Delete an object. Raises `NotThere`, but with `missing_ok`, and `StorageError`."""
    with _asking(address, "deleted"):
        files, path = _files(address)
        try:
            files.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise


def ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int = THREADS) -> Iterator[R]:
    """`function` of each item, in their order; so many are under way at once, and none further ahead."""
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
    """`function` of each item, in their order, by several threads at once."""
    return list(ahead(function, items)) if items else []


# The file systems of this process: fsspec makes one a thread, each with connections and credentials of its own.
_OPEN: dict[tuple[int, str], Any] = {}
_OPENING = threading.Lock()


def _after_fork() -> None:
    """In a child: a lock that a thread of the parent held would be held for ever; the parent's file systems stay untouched.

    They are kept, as to close one would take its sockets out of the loop that parent and child share.
    """
    global _OPENING
    _OPENING = threading.Lock()
    if "fsspec.asyn" in sys.modules:
        sys.modules["fsspec.asyn"].reset_lock()


os.register_at_fork(after_in_child=_after_fork)


def _files(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and what it calls the address."""
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
    """(size, version): of the tag that the store gives to each content, or else of the time of its last change."""
    size = about.get("size")
    tag = about.get("ETag") or about.get("etag") or about.get("md5Hash")
    changed = tag or about.get("LastModified") or about.get("mtime") or about.get("updated") or about.get("created")
    version = -1 if changed is None else int.from_bytes(hashlib.sha256(str(changed).encode()).digest()[:7], "big")
    return (-1 if size is None else int(size)), version


@contextmanager
def _asking(address: str, done: str) -> Iterator[None]:
    """What a store or fsspec raises in the block, as an error of ours that names the address."""
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
        return StorageError(f"{address}: {scheme}:// is not known. Expected a path, or one of {usual}.")
    if isinstance(error, FileNotFoundError):
        what = "there is no such bucket" if "bucket" in str(error).lower() else "not found"
        return NotThere(f"{address}: {what}. Check the address, and the endpoint that fsspec is configured with.")
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}:
        return Denied(
            f"{address} cannot be {done}: no credentials ({reason}). Give them as the store's own tools take them, for example by "
            "AWS_PROFILE; docs/embedding_at_scale.md."
        )
    if isinstance(error, PermissionError):
        return Denied(f"{address} cannot be {done}: permission denied ({reason}). Check what the credentials may do.")
    if isinstance(error, NotImplementedError):
        return StorageError(
            f"{address} cannot be {done}: {scheme}:// does not do that. Use another store, or copy it here first."
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
