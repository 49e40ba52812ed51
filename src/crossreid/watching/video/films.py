"""Frames of films, from any index on: files, and films read over a network.

A frame's index is the rank of its time among the times of all packets. So it is the same whether the film is read from
the start or entered in the middle, and frames that cannot be decoded keep theirs. If packets have no times, frames are
counted as they come, and the film is read from the start.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from crossreid.watching.cameras import Camera, is_address
from crossreid.watching.video.containers import (
    CLOCKLESS,
    Decoded,
    av_library,
    decoded_frames,
    opened,
    packets_of,
    pixels_of,
    rate_of,
    seconds_of,
    start_of,
)
from crossreid.watching.video.frame_times import FrameTimes
from crossreid.watching.video.reading_options import FrameCounts

REORDERED = 128  # packets by which one may lag behind its position in time; codecs allow 16


def film_frames(
    camera: Camera, counts: FrameCounts, first: int = 0, before: float = 0.0, timeout: float | None = None
) -> Iterator[Decoded]:
    """The frames of a film from index `first` on, preceded by those of the `before` seconds before it, at least one.

    A file that is shorter than it claims ends there; its truncated frame and the missing ones are counted.

    Raises:
        DataError: it cannot be opened.
        av.error.FFmpegError, OSError: a film read over a network cannot be read further.
    """
    table = _table_of(camera, first, timeout) if first > 0 else None
    wanted = 0 if table is None else table.ahead_of(first, before)
    for entry in [] if table is None else table.entries(wanted):
        frames = _frames(camera, counts, timeout, table, entry)
        begun = next(frames, None)
        if begun is not None and begun.index <= wanted:  # otherwise the seek went too far
            yield begun
            yield from frames
            return
        frames.close()
    yield from _frames(camera, counts, timeout)


class _Positions:
    """The indices of decoded frames, which come in order of time, from the packets that went in."""

    def __init__(self, table: _Table | None) -> None:
        self.table = table
        self.index = -1
        self.due: list[int] = []  # a heap: times of packets whose frames have not come out yet
        self.discarded = 0

    def seen(self, packet: Any) -> None:
        """Record a packet before it is decoded."""
        if packet.is_discard:  # excluded by an edit list; it yields no frame
            self.discarded += 1
        elif packet.pts is not None:
            heapq.heappush(self.due, packet.pts)

    def of(self, pts: int | None) -> int:
        """The index of the next decoded frame."""
        passed = found = 0
        while self.due and pts is not None and self.due[0] <= pts:
            found = heapq.heappop(self.due) == pts
            if found:
                break
            passed += 1
        if self.table is not None and pts is not None and self.index < 0:
            self.index = bisect_left(self.table.times, pts)
        else:
            self.index += passed + 1 if found else max(passed, 1)
        return self.index


def _frames(
    camera: Camera, counts: FrameCounts, timeout: float | None, table: _Table | None = None, entry: int | None = None
) -> Generator[Decoded, None, None]:
    """The frames of a film, from the key frame with decoding time `entry`, or from its beginning."""
    av = av_library()
    container, stream = opened(camera, timeout)
    with container:
        begun = (start_of(container, stream) if camera.start is None else camera.start) + camera.offset
        rate = rate_of(stream)
        times, positions = FrameTimes(rate, counts), _Positions(table)
        if entry is not None:
            try:
                container.seek(entry, stream=stream, backward=True)
            except (av.error.FFmpegError, OSError):  # may be impossible over a network
                return
        keyed = entry is None
        try:
            for frame in decoded_frames(container, stream, counts, positions.seen):
                keyed = keyed or bool(frame.key_frame)
                if not keyed:
                    continue
                index = positions.of(frame.pts)
                said = seconds_of(frame.pts, container, stream)
                if container.format.name in CLOCKLESS:
                    said = index / rate
                seconds = times.of(said)
                yield Decoded(index, seconds, begun + seconds, partial(pixels_of, frame))
        except (av.error.FFmpegError, OSError):
            if is_address(camera.source):
                raise
            counts.corrupt += 1
        counts.missing += _missing(container, stream, rate, times.last, positions)


def _missing(container: Any, stream: Any, rate: float, last: float, positions: _Positions) -> int:
    """How many frames are missing from a film, by its stated count or length; `last` is the time of the last one."""
    if stream.frames:
        return max(0, stream.frames - positions.discarded - positions.index - 1)
    if container.duration is None or len(container.streams) > 1 or positions.index < 0:  # audio may be longer
        return 0
    behind = container.duration / 1e6 - last
    return max(0, round(behind * rate) - 1) if behind > 1 else 0


@dataclass(frozen=True, slots=True)
class _Table:
    """The packets of a film as far as needed: their times in order, and key frames' positions and decoding times."""

    times: list[int]
    key_frames: list[tuple[int, int]]
    second: float  # in the unit of the times

    def ahead_of(self, first: int, before: float) -> int:
        """The index from which frames are needed: `before` seconds before index `first`, and at least one frame."""
        if not self.times:
            return 0
        last = min(first, len(self.times) - 1)
        return max(0, min(last - 1, bisect_right(self.times, self.times[last] - before * self.second) - 1))

    def entries(self, wanted: int) -> list[int]:
        """Decoding times of key frames before an index, to be tried in turn.

        The nearest is skipped: in some streams a key frame only starts a gradual refresh of the picture.
        """
        ahead = [entry for position, entry in self.key_frames if position <= wanted]
        return [ahead[-back] for back in (2, 8) if len(ahead) > back]


def _table_of(camera: Camera, first: int, timeout: float | None) -> _Table | None:
    """The packets up to index `first` and a little further; None for a film that can only be read from the start."""
    av = av_library()
    container, stream = opened(camera, timeout)
    times: list[int] = []
    keyed: list[tuple[int, int]] = []
    before: int | None = None
    with container:
        try:
            for packet in packets_of(container, stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None or packet.dts is None or (before is not None and packet.dts < before):
                    return None
                before = packet.dts
                times.append(packet.pts)
                if packet.is_keyframe:
                    keyed.append((packet.pts, packet.dts))
                if len(times) > first + REORDERED:
                    break
        except (av.error.FFmpegError, OSError):
            return None
        second = float(1 / stream.time_base)
    times.sort()
    if len(set(times)) < len(times):
        return None
    return _Table(times, [(bisect_left(times, pts), dts) for pts, dts in keyed], second)
