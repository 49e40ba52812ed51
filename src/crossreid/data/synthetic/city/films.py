"""Write frames as a video file, with the same bytes for the same frames."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from crossreid.data.records import DataError
from crossreid.extras import needed


def video_library() -> ModuleType:
    """Return PyAV. Raises `MissingExtra` if it is not installed."""
    library: ModuleType = needed("av", "writing films")
    return library


def write_film(path: Path, frames: Iterable[np.ndarray], rate: Fraction, *, quality: int = 24) -> int:
    """Write `(H, W, 3)` uint8 RGB frames, H and W even, as mp4, and return their number.

    The codec is H.264, or MPEG-4 if this PyAV cannot encode H.264; `quality` is H.264's CRF, lower is better. One
    thread encodes, so that the bytes do not depend on the machine's cores.
    """
    av = video_library()
    count = 0
    with av.open(str(path), "w", format="mp4") as film:
        stream = None
        for image in frames:
            if stream is None:
                stream = _stream(av, film, rate, image.shape, quality)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = count, 1 / rate
            film.mux(stream.encode(picture))
            count += 1
        if stream is None:
            raise DataError(f"{path}: expected at least one frame, found none.")
        film.mux(stream.encode())
    return count


def _stream(av: ModuleType, film, rate: Fraction, shape: tuple[int, ...], quality: int):  # type: ignore[no-untyped-def]
    name = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = film.add_stream(name, rate=rate)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.codec_context.thread_count = 1
    if name == "libx264":
        # Without it the encoder's decisions depend on the processor and on memory addresses.
        same_everywhere = "cpu-independent=1"
        stream.options = {"crf": str(quality), "preset": "veryfast", "g": "50", "x264-params": same_everywhere}
    else:
        stream.codec_context.qmin, stream.codec_context.qmax = 3, 5
    return stream
