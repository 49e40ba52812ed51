"""The folder of a rendered world: new or empty, and visible only once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.files import replacing


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary name for a folder, which becomes `out` when the block succeeds.

    Raises:
        DataError: `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty. Choose another folder, or delete it first.")
    with replacing(out) as building:
        yield building
        if out.exists():
            out.rmdir()
