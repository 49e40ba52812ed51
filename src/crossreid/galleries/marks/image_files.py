"""The image files of marks: entries by their sources, queries by name and content."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.files import sha256_of
from crossreid.galleries.fragments import file_of, path_and_box
from crossreid.galleries.marks.exported import ENTRY, Mark


class ImageFiles:
    """The files of marked images; `missing` are images named by right marks but not found, by their stand-in paths.

    Args:
        roots: folders with the entries' images, found by their sources.
        queries: folder with the query files, found by name and content, or by content alone.
    """

    def __init__(self, roots: Sequence[Path], queries: Path | None) -> None:
        for folder in (*roots, *([] if queries is None else [queries])):
            if not folder.is_dir():
                raise DataError(f"{folder}: expected a folder of images.")
        self._roots = [root.resolve() for root in roots]
        self._files: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(queries.rglob("*")) if queries is not None else ():
            if path.is_file():
                self._files[path.name].append(path.resolve())
        self._digest = cache(sha256_of)
        self.missing: dict[Path, str] = {}

    def of(self, mark: Mark) -> tuple[Path, Path]:
        """The files of query and match. A missing one is represented by a path that no file has."""
        if mark.sha256:
            query = self._query_file(mark)
        else:
            query = self._entry_file(mark.query.removeprefix(ENTRY), mark.asking.file, mark.right)
        return query, self._entry_file(mark.id, mark.entry.file, mark.right)

    def refuse_missing(self) -> None:
        """Raise `DataError` if anything is missing."""
        if self.missing:
            names = list(self.missing.values())
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DataError(
                f"not found: {', '.join(names[:5])}{more}. Expected queries under --queries and entries under --images; "
                "--skip-missing leaves them out."
            )

    def _query_file(self, mark: Mark) -> Path:
        named = self._files.get(mark.query, [])
        others = (path for name, paths in self._files.items() if name != mark.query for path in paths)
        for path in itertools.chain(named, others):
            if self._digest(path) == mark.sha256:
                return path
        changed = f" ({named[0]} is another image)" if named else ""
        return self._lacking(f"the query {mark.query!r}{changed}", mark.sha256, mark.right)

    def _entry_file(self, id: str, source: Path, needed: bool) -> Path:
        what = f"the entry {id!r}" + ("" if str(source) in (id, ".") else f" ({source})")
        if path_and_box(str(source))[1] is not None:
            what += " as a separate image, as a manifest cannot name parts of pictures"
        elif source != Path() and (found := file_of(str(source), self._roots)):
            return found[0]
        return self._lacking(what, f"id {id}", needed)

    def _lacking(self, what: str, which: str, needed: bool) -> Path:
        stand_in = Path("\0", which)
        if needed:
            self.missing[stand_in] = what
        return stand_in
