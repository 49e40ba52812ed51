"""Frames of live streams, which are reconnected with increasing pauses when they break off or stall, until given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from crossreid.data.records import DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.video.containers import (
    CLOCKLESS,
    Decoded,
    av_library,
    decoded_frames,
    opened,
    pixels_of,
    reason_of,
    seconds_of,
)
from crossreid.watching.video.films import film_frames
from crossreid.watching.video.frame_times import FrameTimes
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions

DRIFT = 3.0  # seconds by which a stream's clock may differ from ours before it is reset


def stream_frames(
    camera: Camera,
    options: ReadingOptions,
    counts: FrameCounts,
    first: int = 0,
    before: float = 0.0,
    *,
    live: Callable[[bool], None],
    noted: Callable[[str], None],
) -> Iterator[Decoded]:
    """The frames at an address, with indices from `first` on. A film is read as one, from `before` seconds earlier.

    Args:
        live: called once it is known whether it is a live stream.
        noted: called with the reason whenever the connection is lost, and with "" when there is one again.

    Raises:
        DataError: the first connection cannot be made.
    """
    av = av_library()
    clock = _Clock(camera, counts)
    state = _Connection(options)
    following, again = first, False
    container, stream = opened(camera, options.timeout)
    film = (
        container.duration is not None
        and container.format.name not in CLOCKLESS
        and "rtsp" not in container.format.name
    )
    live(not film)
    while True:
        try:
            if film:
                container.close()
                frames = film_frames(camera, counts, following, before, options.timeout)
            else:
                frames = _connected(container, stream, counts, following, clock)
            for frame in frames:
                if again and frame.index < following:
                    continue
                state.good()
                following = max(following, frame.index + 1)
                yield frame
            if film:
                return
            reason = "the stream ended"
        except av.error.ExitError as error:
            counts.stalls += 1
            reason = reason_of(error)
        except (av.error.FFmpegError, OSError) as error:
            reason = reason_of(error)
        finally:
            container.close()
        while True:
            noted(reason)
            if not state.wait():
                return
            try:
                container, stream = opened(camera, options.timeout)
            except DataError as error:
                counts.stalls += isinstance(error.__cause__, av.error.ExitError)
                reason = str(error)
                continue
            counts.reconnects += 1
            again = True
            noted("")
            break


class _Connection:
    """Decides whether and when a lost stream is retried."""

    def __init__(self, options: ReadingOptions) -> None:
        self.options = options
        self.delay = options.retry
        self.last = time.monotonic()  # time of the last frame

    def good(self) -> None:
        self.last, self.delay = time.monotonic(), self.options.retry

    def wait(self) -> bool:
        """Wait for the next try; False if the stream is given up."""
        delay, left = self.delay, None
        if self.options.give_up is not None:
            left = self.options.give_up - (time.monotonic() - self.last)
            if left <= 0:
                return False
            delay = min(delay, left)
        time.sleep(delay)
        self.delay = min(2 * self.delay, self.options.longest_retry)
        return left is None or left > delay


class _Clock:
    """The times of a live stream: its own clock, set by ours on connection and whenever it has drifted."""

    def __init__(self, camera: Camera, counts: FrameCounts) -> None:
        shift = 0.0 if camera.start is None else camera.start - time.time()
        self.shift = shift + camera.offset
        self.begun = time.time()
        self.counts = counts
        self.times = FrameTimes(1000.0, counts)
        self.zero: float | None = None  # our time of the stream's second 0

    def connected(self) -> None:
        self.zero = None

    def of(self, said: float | None) -> float:
        """The time of a frame that has just arrived, with its own time in seconds or None."""
        now = time.time()
        if said is None:
            return self.times.of(now)
        if self.zero is None or abs(self.zero + said - now) > DRIFT:
            self.counts.mistimed += self.zero is not None
            self.zero = now - said
        return self.times.of(self.zero + said)


def _connected(container: Any, stream: Any, counts: FrameCounts, following: int, clock: _Clock) -> Iterator[Decoded]:
    clock.connected()
    for index, frame in enumerate(decoded_frames(container, stream, counts), start=following):
        moment = clock.of(seconds_of(frame.pts, container, stream))
        yield Decoded(index, moment - clock.begun, moment + clock.shift, partial(pixels_of, frame))
