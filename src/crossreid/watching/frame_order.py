"""The frames of several cameras in one sequence, and the pauses between them at which the state is saved.

Frames of films come in order of time, and pauses are at whole multiples of a step of that time, so results depend
neither on speed nor on where an earlier process was killed. Frames of streams come as they arrive.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from crossreid.watching.frames import Frame


@dataclass(frozen=True, eq=False, slots=True)
class Pause:
    """A moment between frames; `over` are the indices of the cameras that have ended since the last one."""

    over: tuple[int, ...] = ()


Item = tuple[int, Frame] | Pause


def by_time(cameras: Sequence[Iterator[Frame]], step: float) -> Iterator[Item]:
    """Frames with their camera's index, ordered by time, then index; a pause whenever a multiple of `step` is passed.

    At a pause, all cameras' frames before that time have been yielded. The last item is a pause.
    """
    ahead: dict[int, Frame] = {}
    over: list[int] = []

    def take(position: int) -> None:
        frame = next(cameras[position], None)
        if frame is None:
            over.append(position)
            ahead.pop(position, None)
        else:
            ahead[position] = frame

    for position in range(len(cameras)):
        take(position)
    cell: int | None = None
    while ahead:
        position = min(ahead, key=lambda position: (ahead[position].time, position))
        frame = ahead[position]
        now = math.floor(frame.time / step)
        if cell is not None and now > cell:
            yield Pause(tuple(over))
            over.clear()
        cell = now if cell is None else max(cell, now)
        yield position, frame
        take(position)
    yield Pause(tuple(over))


class LiveSource(Protocol):
    """A live camera: its next frame if one arrives within the given seconds, else None; None after the end."""

    @property
    def ended(self) -> bool: ...
    def poll(self, seconds: float | None = 0.0) -> Frame | None: ...


S = TypeVar("S", bound=LiveSource)


def by_arrival(cameras: Sequence[S], step: float, news: Callable[[Sequence[S], float], Sequence[S]]) -> Iterator[Item]:
    """Frames with their camera's index as they arrive; a pause every `step` seconds, even if none arrives.

    No camera gets ahead of another: cameras with frames take turns. The last item is a pause.

    Args:
        news: returns those of the given cameras that have news within the given seconds: a frame, or their end.
    """
    left, over = list(range(len(cameras))), list[int]()
    due = time.monotonic() + step
    while left:
        waiting = [cameras[position] for position in left]
        found = {id(camera) for camera in news(waiting, max(0.0, due - time.monotonic()))}
        for position in list(left):
            frame = cameras[position].poll(0.0) if id(cameras[position]) in found else None
            if frame is not None:
                yield position, frame
            if frame is None and cameras[position].ended:
                left.remove(position)
                over.append(position)
        if time.monotonic() >= due:
            yield Pause(tuple(over))
            over.clear()
            due = time.monotonic() + step
    yield Pause(tuple(over))
