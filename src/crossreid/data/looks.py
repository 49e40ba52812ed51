"""A small look at an image: its size, a thumbnail for comparison, how much colour it has, and its EXIF data.

Enough to find near-duplicates, and to guess modality, time and camera if they are not given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import ExifTags, Image

from crossreid.data.images import TURNED, load_image
from crossreid.data.records import DataError, Record

SIDE = 16  # of a thumbnail, pixels
_SCALE = (4 * SIDE, 4 * SIDE)  # size at which a large JPEG is decoded
_PARALLEL = 400  # number of images from which several processes are worth starting


@dataclass(frozen=True, slots=True)
class Look:
    """The look of an image.

    `width` and `height` are of the decoded image or its box, 0 if only a smaller version was decoded; `thumbnail`
    `(256,)` float32 are its grey levels, with mean 0 and length 1 (all 0 for an image without contrast); `chroma` is
    the mean distance between its strongest and weakest channel, in grey levels; `time` in seconds since 1970 UTC and
    `device` come from EXIF, None and '' if missing.
    """

    thumbnail: np.ndarray
    chroma: float
    time: float | None = None
    device: str = ""
    width: int = 0
    height: int = 0


def look_of(pixels: np.ndarray, *, whole: bool = True) -> Look:
    """Return the look of `(H, W, 3)` uint8 pixels, without EXIF data."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32)
    grey = values.mean(axis=2).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    chroma = float((values.max(axis=2) - values.min(axis=2)).mean())
    height, width = pixels.shape[:2] if whole else (0, 0)
    return Look(grey / length if length > SIDE else np.zeros_like(grey), chroma, width=width, height=height)


def look_at(record: Record) -> Look | str:
    """Return the look of an image, or why it cannot be read."""
    try:
        look = look_of(load_image(replace(record, pseudo_infrared=False), at_least=_SCALE), whole=False)
    except (DataError, OSError) as error:
        return str(error)
    time, device, size = said_by_exif(record.file)
    if record.box is not None:
        size = record.box[2] - record.box[0], record.box[3] - record.box[1]
    return replace(look, time=time, device=device, width=size[0], height=size[1])


def looks_at(
    records: Sequence[Record], *, workers: int | None = None, progress: Callable[..., object] | None = None
) -> list[Look | str]:
    """Return the look of each image, in `workers` processes if there are many (by default one per core)."""
    if progress is not None:
        progress(0, len(records))
    placed = [replace(record, path=record.file.absolute()) for record in records]
    results: Iterable[Look | str] = map(look_at, placed)
    if workers != 1 and len(records) > _PARALLEL:
        results = Parallel(workers or -1, return_as="generator", batch_size=64)(
            delayed(look_at)(record) for record in placed
        )
    found = []
    for result in results:
        found.append(result)
        if progress is not None:
            progress(1)
    return found


def said_by_exif(path: Path) -> tuple[float | None, str, tuple[int, int]]:
    """Return time (seconds since 1970 UTC) and device from EXIF, and the size (width, height) of the upright picture in
    pixels.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            exif = image.getexif()
            inner = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # Pillow raises many classes for damaged headers; the image itself has been read
        return None, "", (0, 0)
    if exif.get(ExifTags.Base.Orientation) in TURNED:
        width, height = height, width
    words = [exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model), inner.get(ExifTags.Base.BodySerialNumber)]
    device = " ".join(str(word).strip("\0 ") for word in words if word)
    taken = inner.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    return exif_seconds(taken, inner.get(ExifTags.Base.OffsetTimeOriginal)), device, (width, height)


def exif_seconds(taken: object, offset: object = None) -> float | None:
    """Parse `2026:11:21 08:30:00`, UTC without an offset such as `+02:00`, into seconds since 1970 UTC, or None."""
    try:
        moment = datetime.strptime(str(taken).strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    text = str(offset or "").strip("\0 ")
    try:
        hours, minutes = text.split(":")
        zone = timezone(timedelta(hours=int(hours), minutes=int(hours[0] + minutes)))
    except (ValueError, IndexError):
        return moment.timestamp()
    return moment.replace(tzinfo=zone).timestamp()
