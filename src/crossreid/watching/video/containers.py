"""Films and streams opened by PyAV: their picture metadata, and the pictures in their packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from crossreid.data.images import MAX_PIXELS
from crossreid.data.records import DataError
from crossreid.extras import needed
from crossreid.watching.cameras import Camera, is_address, shown_source
from crossreid.watching.video.reading_options import FrameCounts

USUAL_RATE = 25.0  # frames per second if not stated
CLOCKLESS = ("mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo")  # formats without timestamps: FFmpeg invents them
_BEFORE_VIDEO = datetime(
    1980, 1, 1, tzinfo=UTC
).timestamp()  # earlier creation times come from clocks that were not set


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame as read from a source.

    index: its index there, from 0; seconds: since the source's first frame, or for a stream since it was connected;
    time: that of `Frame`; pixels: returns its image `(H, W, 3)` uint8 RGB, and raises `DataError` if that is
    impossible.
    """

    index: int
    seconds: float
    time: float
    pixels: Callable[[], np.ndarray]


def av_library() -> Any:
    """PyAV. Raises `CrossreidError` if it is not installed."""
    return needed("av", "reading films and streams")


def opened(camera: Camera, timeout: float | None = None) -> tuple[Any, Any]:
    """PyAV's container of a source, and its video stream.

    Raises:
        DataError: it cannot be opened, has no video, or too large pictures.
    """
    av = av_library()
    name, options = f"file:{camera.source}", {"protocol_whitelist": "file"}
    if is_address(camera.source):
        # RTSP over TCP, as lost UDP packets tear pictures; and no five seconds of probing for other streams.
        rtsp = {"rtsp_transport": "tcp", "analyzeduration": "2000000"}
        name, options = camera.source, rtsp if camera.source.lower().startswith("rtsp") else {}
    shown = f"camera {camera.name!r}: {shown_source(camera.source)}"
    try:
        container = av.open(name, options=options, timeout=timeout, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"{shown} cannot be opened: {reason_of(error)}. Expected a film or stream that FFmpeg reads."
        ) from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{shown} has no video. Expected a film or stream with pictures.")
    stream = container.streams.best("video") or container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise DataError(f"{shown} uses a codec that this FFmpeg does not support. Convert it to H.264.")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        container.close()
        raise DataError(f"{shown} has {width} x {height} pixels; expected at most {MAX_PIXELS:,}.")
    stream.codec_context.thread_count = 1  # each camera has its own process
    return container, stream


def reason_of(error: BaseException) -> str:
    """FFmpeg's message for an error, without the address."""
    if type(error).__name__ == "ExitError":  # raised by PyAV for its own timeout
        return "no data in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def rate_of(stream: Any) -> float:
    """Frames per second as stated by a stream."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0.001 <= float(rate) <= 1000 else USUAL_RATE


def start_of(container: Any, stream: Any) -> float:
    """The start time of a film from its metadata, seconds since 1970 UTC; 0 if not stated."""
    for said in (container.metadata, stream.metadata):
        for key, value in said.items():
            if key.lower() not in ("creation_time", "com.apple.quicktime.creationdate"):
                continue
            try:
                moment = datetime.fromisoformat(value.strip())
            except ValueError:
                continue
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            if seconds > _BEFORE_VIDEO:
                return seconds
    return 0.0


def seconds_of(pts: int | None, container: Any, stream: Any) -> float | None:
    """Seconds of a frame since the stream's first one, None if it has no timestamp."""
    if pts is None or container.format.name in CLOCKLESS:
        return None
    return float((pts - (stream.start_time or 0)) * stream.time_base)


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream. Raises as `decoded_frames`."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:  # PyAV, for a packet of a stream that did not exist at the start
            continue


def decoded_frames(
    container: Any, stream: Any, counts: FrameCounts, seen: Callable[[Any], None] | None = None
) -> Iterator[Any]:
    """PyAV's frames of a stream; each packet is first passed to `seen`. Damaged ones are counted, decoded if possible.

    Raises:
        av.error.FFmpegError, OSError: the source cannot be read further.
    """
    av = av_library()
    for packet in packets_of(container, stream):
        if seen is not None:
            seen(packet)
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.UnknownError, av.error.PatchWelcomeError):
            counts.corrupt += 1
            continue
        counts.corrupt += packet.is_corrupt or any(frame.is_corrupt for frame in frames)
        yield from frames


def pixels_of(frame: Any) -> np.ndarray:
    """A PyAV frame as `(H, W, 3)` uint8 RGB, upright. Raises `DataError` if it is too large or cannot be converted."""
    if frame.width * frame.height > MAX_PIXELS:
        raise DataError(f"a frame has {frame.width} x {frame.height} pixels; expected at most {MAX_PIXELS:,}.")
    try:
        image = frame.to_ndarray(format="rgb24")
    except (av_library().error.FFmpegError, ValueError) as error:
        raise DataError(f"a frame cannot be converted to RGB ({reason_of(error)}).") from error
    turns = round(frame.rotation / 90) % 4  # counterclockwise: phones record their orientation
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
