"""What every room does with files and with KEY=VALUE texts: write whole or not at all, read JSON, take a pair apart."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError


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
