"""The source of an entry: a picture's path, or for a part of it, the path with the box as a W3C media fragment,
`PATH#xywh=LEFT,TOP,WIDTH,HEIGHT`; and which file that is.

Any text names exactly one picture or part. A path may contain a `#`; a path of a whole picture that itself ends like a
box gets a `#` appended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crossreid.data.records import DataError

Box = tuple[int, int, int, int]
# Whole numbers without leading zeros, so that a box has only one notation; of few digits, as for pixels.
_PLACE, _SIZE = "(0|[1-9][0-9]{0,8})", "([1-9][0-9]{0,8})"
_FRAGMENT = re.compile(rf"(.*)#xywh={_PLACE},{_PLACE},{_SIZE},{_SIZE}", re.DOTALL)


def source_of(path: str, box: Box | None) -> str:
    """The name of a picture, or of its part within a box (left, top, right, bottom in pixels).

    Raises `DataError` for a box that is empty, or not of whole numbers from 0.
    """
    if box is None:
        return f"{path}#" if _FRAGMENT.fullmatch(path.rstrip("#")) else path
    left, top, right, bottom = box
    name = f"{path}#xywh={left},{top},{right - left},{bottom - top}"
    if path_and_box(name) != (path, (left, top, right, bottom)):
        raise DataError(f"{path}: expected a box (left, top, right, bottom) of whole pixels, not empty, found {box}.")
    return name


def path_and_box(source: str) -> tuple[str, Box | None]:
    """The path and the box encoded by `source_of`; the box is None without a well-formed `#xywh=...` at the end."""
    if found := _FRAGMENT.fullmatch(source):
        left, top, width, height = map(int, found.groups()[1:])
        return found[1], (left, top, left + width, top + height)
    return (source[:-1] if source.endswith("#") and _FRAGMENT.fullmatch(source.rstrip("#")) else source), None


def file_of(source: str, roots: Sequence[Path]) -> tuple[Path, Box | None] | None:
    """The file named by a source, relative to the working directory or a root, and the box in it.

    None if there is no such file under one of the `roots`, which are resolved: symlinks are followed, and their targets
    count.
    """
    name, box = path_and_box(source)
    for start in (Path(), *roots) if name and roots else ():
        try:
            path = (start / name).resolve()
            if any(path.is_relative_to(root) for root in roots) and path.is_file():
                return path, box
        except (OSError, ValueError, RuntimeError):  # not a file name: a NUL, too long, a symlink loop
            continue
    return None
