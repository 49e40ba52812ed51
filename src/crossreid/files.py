"""What every room does with files and with KEY=VALUE texts: write whole or not at all, lock, read JSON, take a pair apart."""

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
_LOCKS: set[int] = set()  # descriptors of the locks that this process holds


class NoSpace(CrossreidError, OSError):
    """A file that cannot be written whole: the disk, a quota or the largest size of a file is used up."""


class Held(CrossreidError):
    """A lock that another process holds, or this one already; the message is who."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An error of the system in the block names `path`, which the block writes, and says what to do where space is used up.

    Raises:
        NoSpace: the disk, a quota or the largest size of a file is used up.
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
    """The error of a file that the disk has no room for, for a library that reports it in a way of its own."""
    what = (reason or "no space left on device").lower()
    return NoSpace(
        f"{path} cannot be written: {what}. What was there before is as it was. Free space there, or write to another place, "
        "and run the same command again."
    )


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to: renamed to `path` when the block ends well, removed when it does not.

    The folder is made where it is missing. The temporary name is hidden and keeps the suffix, by which libraries choose
    a format; `remove_leftovers` removes those of killed processes. With `durable`, content and name survive a power cut once the
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
    """`.NAME.PID.tmp` with the suffix of `path` behind it, in the same folder, so that renaming is atomic."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that are gone left beside `path` of writing it."""
    before, _, after = temporary_name(path).name.rpartition(f".{os.getpid()}.")
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        number = found.name.removeprefix(f"{before}.").removesuffix(f".{after}")
        if found.name == f"{before}.{number}.{after}" and number.isdecimal() and not _runs(int(number)):
            found.unlink(missing_ok=True)


def remove_leftovers_in(folder: Path, own: Collection[str] = ()) -> None:
    """Remove what processes that are gone left in a folder of writing any file there.

    Args:
        own: names of the files that only the caller can be writing, as it holds their lock: what is left of these goes whatever
            process is named, as numbers of processes come again.
    """
    for found in folder.iterdir():
        match = _TEMPORARY.fullmatch(found.name)
        if match and (match["name"] in own or not _runs(int(match["process"]))):
            found.unlink(missing_ok=True)


def lock(path: Path) -> int:
    """Take the lock of a file, which says who holds it, and return its descriptor, for `unlock`.

    The system drops the lock when the process dies, and its children have no part in it: loader processes may outlive a
    killed parent for seconds.

    Raises:
        Held: another process holds it, or this one already; the message says who.
        OSError: the file cannot be made, or its file system knows no locks.
    """
    import fcntl  # here, as not every system that reads and writes files has it

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(descriptor, path):  # else its last holder removed it just now
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
    except OSError:  # a full disk: the lock holds all the same
        pass
    return descriptor


def unlock(descriptor: int, *, remove: Path | None = None) -> None:
    """Give a lock back, and `remove` its file. In a child of the process that took it, nothing happens."""
    import fcntl

    if descriptor not in _LOCKS:
        return
    if remove is not None:
        remove.unlink(missing_ok=True)
    else:
        os.ftruncate(descriptor, 0)
    _LOCKS.remove(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is being born has the descriptor for a moment
    os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON; NumPy's numbers and arrays are written as numbers and lists."""
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def write_durably(path: Path, pieces: Iterable[bytes], *, private: bool = False) -> None:
    """Write a file of bytes that survives a power cut; a `private` one is its owner's alone from the first byte on."""
    mode = 0o600 if private else 0o666  # less what the user's mask takes away
    with (
        replacing(path, durable=True) as temporary,
        open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as stream,
    ):
        for piece in pieces:
            stream.write(piece)


def read_json(path: Path, kind: type[dict] | type[list] = dict) -> Any:
    """The content of a JSON file that this program wrote.

    Raises:
        CrossreidError: it is no JSON, or of another kind than an object (or what `kind` says).
    """
    try:
        value = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CrossreidError(f"{path} is damaged: it is no JSON ({error}). Delete it, or restore a copy.") from error
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise CrossreidError(
            f"{path} is damaged: expected a JSON {expected}, found {type(value).__name__}. Delete it, or restore a copy."
        )
    return value


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that holds none, half a line of a killed process above all, is left out."""
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
    """The SHA-256 of a file's content, 64 hexadecimal digits; read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def short_digest(facts: Any) -> str:
    """Eight hexadecimal digits of plain values: equal values have equal ones, in whatever order their keys are."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]


def fsync_file(path: Path) -> None:
    """Make a file's content durable."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable: what was renamed or created there."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def key_value(text: str, option: str, example: str = "KEY=VALUE") -> tuple[str, str]:
    """The two sides of `KEY=VALUE`, as `option` of a command takes it; the value may be empty and may hold `=`.

    Raises:
        CrossreidError: no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise CrossreidError(f"{option} {text!r}: expected {example}.")
    return key.strip(), value


def key_values(texts: Iterable[str] | None, option: str, example: str = "KEY=VALUE") -> dict[str, str]:
    """The pairs of an option that may be given several times, none where it is not given; of one key the last counts.

    Raises:
        CrossreidError: one is no pair.
    """
    return dict(key_value(text, option, example) for text in texts or ())


def _holder(descriptor: int) -> str:
    """Who holds a lock: it writes that just after it has taken it."""
    for _ in range(50):
        if told := os.pread(descriptor, 400, 0).decode(errors="replace").strip():
            return told
        time.sleep(0.01)
    return "a process that did not say who it is"


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
    except PermissionError:  # somebody else's
        return True
    return True


def _plain(value: Any) -> Any:
    import numpy as np  # here, as every command imports this module, and most write no arrays

    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
