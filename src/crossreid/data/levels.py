"""How 16-bit pictures become 8-bit: which of their values is black, and which is white.

Thermal cameras write 16 bits and use few of the values, for example 7300 to 8199: the upper 8 bits leave five grey
levels. A range is given for all pictures or per camera, or taken from each picture itself; 8-bit pictures are left
unchanged.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator

from crossreid.data.records import DataError, PictureLevels, Record, Split
from crossreid.errors import CrossreidError

NARROW = 4096  # values; fewer come out as less than 16 of 256 grey levels
TAIL = 0.5  # percent of a picture's values cut off at each end of its own range
_SAY = (
    "16-bit pictures whose values span less than a sixteenth of the full range come out almost black or uniform: set data.levels "
    "(picture, [LOW, HIGH], or a range for each camera); `crossreid check` shows the ranges."
)


class UnknownRange(DataError):
    """A 16-bit picture whose camera has no range."""


def _as_levels(given: Any) -> Any:
    """Return a YAML value as a name, a pair, or pairs by camera; errors say what is expected."""

    def pair(value: Any) -> tuple[int, int]:
        whole = isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
        if not whole or not 0 <= value[0] < value[1] <= 65535:
            raise CrossreidError(f"expected [LOW, HIGH], whole numbers from 0 to 65535, found {value!r}")
        return value[0], value[1]

    if given in ("full", "picture"):
        return given
    if isinstance(given, Mapping):
        if not given or not all(str(camera).isdecimal() for camera in given):
            raise CrossreidError(f"expected [LOW, HIGH] per camera number, found {dict(given)!r}")
        return {int(camera): pair(value) for camera, value in given.items()}
    if isinstance(given, list | tuple):
        return pair(given)
    raise CrossreidError(f"expected full, picture, [LOW, HIGH], or a range per camera, found {given!r}")


Levels = Annotated[
    Literal["full", "picture"] | tuple[int, int] | dict[int, tuple[int, int]], BeforeValidator(_as_levels)
]


def checked(given: Any) -> Levels:
    """Check the levels in a file; raises `CrossreidError` if they are invalid."""
    levels: Levels = _as_levels(given)
    return levels


def with_levels(records: Sequence[Record], levels: Levels) -> list[Record]:
    """Return the records with the range that their pictures are read by.

    Raises:
        UnknownRange: a camera has no range, although ranges are given per camera.
    """
    return (
        [replace(record, levels=_of_camera(levels, record)) for record in records]
        if levels != "full"
        else list(records)
    )


def split_with_levels(split: Split, levels: Levels) -> Split:
    """Return the split with the range that its pictures are read by; raises as `with_levels`."""
    if levels == "full":
        return split
    train, validation, query, gallery = (
        tuple(with_levels(records, levels)) for records in (split.train, split.validation, split.query, split.gallery)
    )
    return replace(split, train=train, validation=validation, query=query, gallery=gallery)


def query_levels(levels: Levels) -> PictureLevels:
    """Return the range for a picture of an unknown camera: the given one, or if given per camera, the picture's own."""
    if levels == "full":
        return None
    return "picture" if isinstance(levels, dict) else levels


def queries_with_levels(records: Sequence[Record], levels: Levels) -> list[Record]:
    """As `with_levels`; with ranges per camera, an unknown camera or one without a range uses the picture's own."""
    if not isinstance(levels, dict):
        return with_levels(records, levels)
    return [replace(record, levels=levels.get(record.camera, "picture")) for record in records]


def _of_camera(levels: Levels, record: Record) -> PictureLevels:
    if not isinstance(levels, dict):
        return None if levels == "full" else levels
    if record.camera not in levels:
        raise UnknownRange(
            f"data.levels has no range for camera {record.camera} ({record.path}). It has ranges for "
            f"{', '.join(map(str, sorted(levels)))}; add one, or use picture."
        )
    return levels[record.camera]


def as_bytes(values: np.ndarray, levels: PictureLevels) -> np.ndarray:
    """Convert 16-bit values `(H, W)` to uint8: the upper 8 bits by default, or low and below to 0, high and above to
    255.
    """
    values = np.clip(values, 0, 65535)
    if levels is None:
        if values.size and 0 < int(values.max()) - int(values.min()) < NARROW:
            warnings.warn(_SAY, stacklevel=2)
        return (values >> 8).astype(np.uint8)
    low, high = np.percentile(values, (TAIL, 100 - TAIL)) if levels == "picture" else levels
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def narrow_note(ranges: Mapping[int, tuple[int, int]], example: Path) -> str:
    """Return a note on cameras whose 16-bit pictures use few of their values: (lowest, highest) by camera."""
    given = ", ".join(f"{camera}: [{low}, {high}]" for camera, (low, high) in sorted(ranges.items()))
    one = next(iter(ranges.values()))
    low, high = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
    by_camera = f" data.levels: {{{given}}}," if 0 not in ranges and len(ranges) > 1 else ""
    same = f"[{one[0]}, {one[1]}]" if len(ranges) == 1 else f"[{low}, {high}]"
    return (
        f"16-bit pictures use few of their values ({low} to {high}, first: {example}) and come out almost black or uniform. In a "
        f"recipe set{by_camera} data.levels: {same}, or data.levels: picture."
    )
