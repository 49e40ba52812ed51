"""Files and KEY=VALUE texts, for every room: atomic writes, locks, JSON, splitting pairs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.tmp(\.[^.]+)?")
_LOCKS: set[int] = set()  # descriptors of locks held by this process


class NoSpace(CrossreidError, OSError):
    """A file that cannot be written completely: the disk or a quota is full, or the file size limit is reached."""


class Held(CrossreidError):
    """A lock that another process, or this one already, holds; the message says who."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make system errors in the block name `path`, which the block writes, and say what to do if space runs out.

    Raises:
        NoSpace: the disk or a quota is full, or the file size limit is reached.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, NoSpace) or error.errno is None:
            raise
        if error.errno in _FULL:
            raise no_space(path, error.strerror) from error
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def no_space(path: Path, reason: str | None) -> NoSpace:
    """Return the error for a file that does not fit on the disk, for libraries that report this in their own way."""
    what = (reason or "no space left on device").lower()
    return NoSpace(
        f"{path} cannot be written: {what}. The previous content is unchanged. Free some space, or write to another place, "
        "and run the same command again."
    )


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a name beside `path` to write to: renamed to `path` if the block succeeds, removed if it fails.

    A missing folder is created. The temporary name is hidden and keeps the suffix, by which libraries choose a format;
    `remove_leftovers` removes those of killed processes. With `durable`, content and name survive a power cut once the
    block has ended.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with writing(path):
            yield temporary
            if durable:
                fsync_file(temporary)
            os.replace(temporary, path)
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
    if durable:
        fsync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Return `.NAME.PID.tmp` plus the suffix of `path`, in the same folder, so that renaming is atomic."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")


def remove_leftovers(path: Path) -> None:
    """Remove what dead processes left beside `path` while writing it."""
    before, _, after = temporary_name(path).name.rpartition(f".{os.getpid()}.")
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        number = found.name.removeprefix(f"{before}.").removesuffix(f".{after}")
        if found.name == f"{before}.{number}.{after}" and number.isdecimal() and not _runs(int(number)):
            found.unlink(missing_ok=True)


def remove_leftovers_in(folder: Path, own: Collection[str] = ()) -> None:
    """Remove what dead processes left in a folder while writing any file there.

    Args:
        own: names of the files that only the caller can be writing, because it holds their lock: their leftovers are
            removed whatever process they name, because process ids are reused.
    """
    for found in folder.iterdir():
        match = _TEMPORARY.fullmatch(found.name)
        if match and (match["name"] in own or not _runs(int(match["process"]))):
            found.unlink(missing_ok=True)


def lock(path: Path) -> int:
    """Take a lock file, write into it who holds it, and return its descriptor for `unlock`.

    The system drops the lock when the process dies. Child processes do not inherit it: loader processes may outlive a
    killed parent for seconds.

    Raises:
        Held: another process, or this one already, holds it; the message says who.
        OSError: the file cannot be created, or its file system does not support locks.
    """
    import fcntl  # imported here, because not every system has it

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(descriptor, path):  # else its last holder has just removed it
                break
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise Held(holder) from error
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    _LOCKS.add(descriptor)
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started} UTC".encode(), 0)
    except OSError:  # the disk is full: the lock holds anyway
        pass
    return descriptor


def unlock(descriptor: int, *, remove: Path | None = None) -> None:
    """Release a lock, and `remove` its file. Does nothing in a child of the process that took it."""
    import fcntl

    if descriptor not in _LOCKS:
        return
    if remove is not None:
        remove.unlink(missing_ok=True)
    else:
        os.ftruncate(descriptor, 0)
    _LOCKS.remove(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is just starting has the descriptor for a moment
    os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON; NumPy numbers and arrays are written as numbers and lists."""
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def write_durably(path: Path, pieces: Iterable[bytes], *, private: bool = False) -> None:
    """Write bytes to a file that survives a power cut; a `private` file is readable by its owner only from the start."""
    mode = 0o600 if private else 0o666  # before the user's umask
    with (
        replacing(path, durable=True) as temporary,
        open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as stream,
    ):
        for piece in pieces:
            stream.write(piece)


def read_json(path: Path, kind: type[dict] | type[list] = dict) -> Any:
    """Read a JSON file that this program wrote.

    Raises:
        CrossreidError: it is not JSON, or not an object (or not of `kind`).
    """
    try:
        value = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CrossreidError(
            f"{path} is damaged: it is not valid JSON ({error}). Delete it, or restore a copy."
        ) from error
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise CrossreidError(
            f"{path} is damaged: expected a JSON {expected}, found {type(value).__name__}. Delete it, or restore a copy."
        )
    return value


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file; lines without one, such as half a line of a killed process, are skipped."""
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; the file is read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def short_digest(facts: Any) -> str:
    """Return eight hexadecimal digits for plain values: equal values give equal digits, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]


def fsync_file(path: Path) -> None:
    """Make a file's content durable."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Make renames and new files in a folder durable."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def key_value(text: str, option: str, example: str = "KEY=VALUE") -> tuple[str, str]:
    """Split `KEY=VALUE`, as a command's `option` takes it; the value may be empty and may contain `=`.

    Raises:
        CrossreidError: there is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise CrossreidError(f"{option} {text!r}: expected {example}.")
    return key.strip(), value


def key_values(texts: Iterable[str] | None, option: str, example: str = "KEY=VALUE") -> dict[str, str]:
    """Return the pairs of a repeatable option, none if it is not given; the last value of a key counts.

    Raises:
        CrossreidError: one is not a pair.
    """
    return dict(key_value(text, option, example) for text in texts or ())


def _holder(descriptor: int) -> str:
    """Return who holds a lock; the holder writes this right after taking it."""
    for _ in range(50):
        if told := os.pread(descriptor, 400, 0).decode(errors="replace").strip():
            return told
        time.sleep(0.01)
    return "an unnamed process"


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _leave_locks() -> None:
    for descriptor in _LOCKS:
        os.close(descriptor)
    _LOCKS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _plain(value: Any) -> Any:
    import numpy as np  # imported here: every command imports this module, and most write no arrays

    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
