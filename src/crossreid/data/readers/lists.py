"""The text of a data set's lists."""

from __future__ import annotations

from pathlib import Path

from crossreid.data.records import DataError


def list_text(path: Path, title: str) -> str:
    """Return the text of a list of the data set named `title`; line ends become newlines, a BOM is skipped.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{title}: {path} is not UTF-8 (byte {error.start}). Copy it again.") from error
