"""Frames stored as image files in a folder, in natural order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from crossreid.data.image_names import images_in, numbers_in_order
from crossreid.data.images import load_image
from crossreid.data.records import DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.video.containers import USUAL_RATE, Decoded


def folder_frames(camera: Camera, first: int = 0, before: float = 0.0) -> Iterator[Decoded]:
    """The frames of a folder from index `first` on, preceded by those of the `before` seconds before it, at least one.

    Raises:
        DataError: there is no image in it.
    """
    paths = sorted(images_in(Path(camera.source)), key=lambda path: (numbers_in_order(path.name), path.name))
    if not paths:
        raise DataError(f"camera {camera.name!r}: no image in {camera.source}. Expected frames as .jpg or .png files.")
    rate = USUAL_RATE if camera.frame_rate is None else camera.frame_rate
    begun = (camera.start or 0.0) + camera.offset
    for index in range(max(0, first - max(1, round(before * rate))), len(paths)):
        yield Decoded(index, index / rate, begun + index / rate, partial(load_image, paths[index]))
