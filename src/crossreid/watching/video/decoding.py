"""The frames of a camera in this process: read from its source, selected, and assigned their modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from crossreid.data.records import DataError, Modality
from crossreid.watching.cameras import Camera, is_address
from crossreid.watching.frames import Frame
from crossreid.watching.video.containers import Decoded
from crossreid.watching.video.films import film_frames
from crossreid.watching.video.frame_folders import folder_frames
from crossreid.watching.video.light import DWELL, Light
from crossreid.watching.video.live_streams import stream_frames
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions

_ROUNDED = 1e-3  # seconds by which timestamps of films may be off, for example if stored in milliseconds


def frames_of(
    camera: Camera,
    options: ReadingOptions,
    counts: FrameCounts,
    first: int = 0,
    modality: Modality | None = None,
    *,
    live: Callable[[bool], None] = lambda _: None,
    noted: Callable[[str], None] = lambda _: None,
) -> Iterator[Frame]:
    """The frames of a camera's source from index `first` on, as selected by the options.

    The selection, times and modality are as if the source had been read from its beginning: the frames that decide them
    are examined first.

    Args:
        counts: kept up to date.
        modality: the camera's modality just before `first`, if known.
        live: called once, with whether the source is a live stream.
        noted: called with the reason whenever a stream's connection is lost, and with "" when there is one again.

    Raises:
        DataError: the source cannot be opened.
    """
    light, choice = Light(camera.light, modality), _Choice(options)
    size: tuple[int, ...] | None = None
    ahead = 2 * DWELL if light.decides else 0.0
    for decoded in _source(camera, options, counts, first, ahead, live, noted):
        chosen = choice.takes(decoded)
        if decoded.index < first and not (chosen and light.decides):
            continue
        counts.decoded += decoded.index >= first
        if not chosen:
            counts.skipped += 1
            continue
        try:
            image = decoded.pixels()
        except DataError:
            counts.corrupt += decoded.index >= first
            continue
        seen = light.of(image, decoded.time)
        if decoded.index < first:
            continue
        counts.resized += size is not None and size != image.shape
        size = image.shape
        yield Frame(camera.name, decoded.index, decoded.time, image, seen)


def _source(
    camera: Camera,
    options: ReadingOptions,
    counts: FrameCounts,
    first: int,
    ahead: float,
    live: Callable[[bool], None],
    noted: Callable[[str], None],
) -> Iterator[Decoded]:
    if is_address(camera.source):
        return stream_frames(camera, options, counts, first, ahead, live=live, noted=noted)
    live(False)
    if Path(camera.source).is_dir():
        return folder_frames(camera, first, ahead)
    return film_frames(camera, counts, first, ahead)


class _Choice:
    """Which frames to keep: every n-th by index, or the first of each 1/fps of a second."""

    def __init__(self, options: ReadingOptions) -> None:
        self.every, self.fps = options.every, options.fps
        self.last: int | None = None

    def takes(self, frame: Decoded) -> bool:
        if self.fps is None:
            return frame.index % self.every == 0
        interval = math.floor((frame.seconds + _ROUNDED) * self.fps)
        new = interval != self.last
        self.last = interval
        return new
