"""The folder that a rendered world is written into: new or empty, and there only once all of it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.files import replacing


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A name to make a folder under, which becomes `out` when the block ends well.

    Raises:
        DataError: `out` is there and is no empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty. Choose another folder, or delete it first.")
    with replacing(out) as building:
        yield building
        if out.exists():
            out.rmdir()
