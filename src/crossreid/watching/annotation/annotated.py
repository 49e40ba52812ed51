"""Annotated films, `WATCH/annotated/CAMERA.mp4`: boxes with the final identities, also in early frames.

This takes a second pass over each source once everything is decided, so only films and folders of frames can be
annotated: a stream is gone. If anyone is known by name, unknown people get a grey box, with the identity's colour
beside its number.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.files import replacing
from crossreid.watching.annotation.box_drawing import Drawing
from crossreid.watching.annotation.identity_colours import GREY, colour_of
from crossreid.watching.cameras import Camera
from crossreid.watching.frames import Frame
from crossreid.watching.identities.readings import Readings
from crossreid.watching.video.sources import FrameSource

FOLDER = "annotated"
_TICKS = 1000  # per second, the frames' time base
Box = tuple[int, int, np.ndarray]  # frame from 0, number of the identity, left, top, right, bottom `(4,)`


def check_can_annotate(cameras: Sequence[Camera], *, keep_images: bool) -> None:
    """Raise `CrossreidError` if a watch cannot be annotated, before it starts."""
    if not keep_images:
        raise CrossreidError(
            "--annotate writes films with people in them, but --no-images forbids images; leave one of them out."
        )
    for camera in cameras:
        if not Path(camera.source).exists():
            raise CrossreidError(
                f"--annotate: camera {camera.name!r} is no film or folder of frames. Identities are final at the end, when a "
                "stream's frames are gone: record it, and watch the film."
            )


def annotate(
    folder: Path,
    state: Readings,
    cameras: Sequence[Camera],
    open_frames: Callable[[Camera], FrameSource | Generator[Frame]],
) -> list[Path]:
    """Write an annotated film of each camera of a finished watch; returns their paths.

    Args:
        folder: the folder of the watch.
        state: its state, after all merges.
        open_frames: returns the frames of a source from the first, with the indices that boxes refer to.

    Raises:
        CrossreidError: the source of a camera is a stream, or PyAV is not installed.
    """
    check_can_annotate(cameras, keep_images=True)
    known = any(one.name is not None for one in state.identities())
    paths = []
    for camera in cameras:
        path = folder / FOLDER / f"{camera.name}.mp4"
        with closing(open_frames(camera)) as frames:
            write_annotated(path, frames, state.mot_rows(camera.name), state.name_of, known=known)
        paths.append(path)
    return paths


def write_annotated(
    path: Path,
    frames: Iterable[Frame],
    boxes: Iterable[Box],
    name_of: Callable[[int], str | None],
    *,
    known: bool = True,
) -> None:
    """Draw boxes into frames, with camera and time, and write them as H.264, else MPEG-4, with their own times.

    Args:
        path: ends in .mp4; written atomically.
        frames: in order. A frame whose size differs from the first one's is resized to fit it.
        boxes: in order of their frames; boxes of missing frames are skipped.
        name_of: returns an identity's name, None if unknown to the gallery.
        known: whether anyone has a name, so that people without one get a grey box.

    Raises:
        CrossreidError: PyAV is not installed.
        NoSpace: the disk is full.
    """
    av = needed("av", "an annotated film")
    drawing: Drawing | None = None
    names = _Names(name_of, known)
    waiting = _Waiting(boxes)
    with replacing(path) as temporary, av.open(str(temporary), "w", options={"movflags": "faststart"}) as film:
        stream: Any = None
        first, last = 0.0, -1
        for frame in frames:
            if drawing is None:
                drawing = Drawing(*frame.image.shape[:2])
                stream, first = _stream(film, av, drawing), frame.time
            canvas, move = drawing.canvas(frame.image)
            for number, box in waiting.of(frame.index):
                drawing.box(canvas, move(box), *names.of(number))
            drawing.caption(canvas, frame.camera, frame.time)
            last = max(last + 1, round((frame.time - first) * _TICKS))
            picture = av.VideoFrame.from_ndarray(canvas, format="rgb24")
            picture.pts, picture.time_base = last, stream.codec_context.time_base
            film.mux(stream.encode(picture))
        if stream is None:
            raise CrossreidError(f"{path} cannot be written: its source has no frame.")
        film.mux(stream.encode(None))


class _Names:
    """The label of an identity, its colour, and the colour of its box."""

    def __init__(self, name_of: Callable[[int], str | None], known: bool) -> None:
        self._name_of, self._unknown = name_of, known
        self._known: dict[int, str | None] = {}

    def of(self, number: int) -> tuple[str, tuple[int, int, int], tuple[int, int, int]]:
        if number not in self._known:
            self._known[number] = self._name_of(number)
        name, colour = self._known[number], colour_of(number)
        if name is not None:
            return name, colour, colour
        return f"g{number}", colour, GREY if self._unknown else colour


class _Waiting:
    """Boxes by frame, from an iterator that is read only as far as needed."""

    def __init__(self, boxes: Iterable[Box]) -> None:
        self._boxes = iter(boxes)
        self._next = next(self._boxes, None)

    def of(self, index: int) -> Iterator[tuple[int, np.ndarray]]:
        while self._next is not None and self._next[0] <= index:
            frame, number, box = self._next
            self._next = next(self._boxes, None)
            if frame == index:
                yield number, box


def _stream(film: Any, av: Any, drawing: Drawing) -> Any:
    from fractions import Fraction

    codec, options = (
        ("libx264", {"crf": "23", "preset": "veryfast"}) if _encodes(av, "libx264") else ("mpeg4", {"q": "4"})
    )
    stream = film.add_stream(codec, rate=25, options=options)
    stream.width, stream.height, stream.pix_fmt = drawing.width, drawing.height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    stream.time_base = Fraction(1, _TICKS)
    return stream


def _encodes(av: Any, name: str) -> bool:
    try:
        return bool(av.codec.Codec(name, "w").is_encoder)
    except ValueError:  # raised by PyAV for a codec it was built without
        return False
