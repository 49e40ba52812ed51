"""Which picture files crops are of: by their paths from here, or below folders that are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from crossreid.clustering.crops import Crops
from crossreid.data.records import DataError, Record


class FilesOfCrops:
    """The picture files of crops, looked for when they are asked for.

    Args:
        folders: below which paths lie that are not there as they are; the first that has one counts. Raises `DataError` where
            one is no folder.
    """

    def __init__(self, crops: Crops, folders: Sequence[Path] = ()) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise DataError(f"{folder}: expected a folder of images.")
        self._crops = crops
        self._folders = [folder.resolve() for folder in folders]
        self._file = cache(self._look_for)

    def of(self, row: int) -> Path | None:
        """The absolute path of a crop's picture; None where it is not found."""
        return self._file(self._crops.paths[row])

    def record(self, row: int, identity: str = "") -> Record | None:
        """A crop as a record whose path leads to its picture; None where that is not found."""
        path = self.of(row)
        return None if path is None else replace(self._crops.record(row, identity), path=path)

    def any(self) -> bool:
        """Whether any of a hundred crops from all over has its picture."""
        step = max(1, len(self._crops) // 100)
        return any(self.of(row) is not None for row in range(0, len(self._crops), step))

    def _look_for(self, path: str) -> Path | None:
        if not path:
            return None
        for start in (Path(), *self._folders):
            found = start / path
            try:
                if found.is_file():
                    return found.absolute()
            except (OSError, ValueError):  # no name of a file
                continue
        return None
