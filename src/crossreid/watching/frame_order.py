"""The frames of several cameras one after another, and the moments between them at which what was seen is kept.

Of films they come in the order of their times, and the moments are whole multiples of a step of that time: what comes out depends
neither on how fast anything is nor on where an earlier process was killed. Of streams they come as they arrive.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossreid.watching.frames import Frame


@dataclass(frozen=True, eq=False, slots=True)
class Pause:
    """A moment between frames; `over` are the positions of the cameras that have ended since the last one."""

    over: tuple[int, ...] = ()


Item = tuple[int, Frame] | Pause


def by_time(cameras: Sequence[Iterator[Frame]], step: float) -> Iterator[Item]:
    """Frames with the position of their camera, by time, of equal times by position; a pause where a multiple of `step` is passed.

    At a pause all frames before that time have been given, of all cameras. The last item is a pause.
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


def by_arrival(cameras: Sequence[Iterator[Frame]], step: float) -> Iterator[Item]:
    """Frames with the position of their camera as they arrive; a pause each `step` seconds, also where none arrives.

    Each camera has a frame on hold at most, so what is dropped is dropped by its source. The last item is a pause.
    """
    arrived: queue.Queue[tuple[int, Frame | BaseException | None]] = queue.Queue()
    turns = [threading.Semaphore(1) for _ in cameras]
    stopped = threading.Event()

    def wait_for(position: int) -> None:
        try:
            while turns[position].acquire() and not stopped.is_set():
                frame = next(cameras[position], None)
                arrived.put((position, frame))
                if frame is None:
                    return
        except BaseException as error:  # raised again where the frames are taken
            arrived.put((position, error))

    for position in range(len(cameras)):
        threading.Thread(target=wait_for, args=(position,), name=f"frames of {position}", daemon=True).start()
    left, over = set(range(len(cameras))), list[int]()
    due = time.monotonic() + step
    try:
        while left:
            try:
                position, frame = arrived.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                yield Pause(tuple(over))
                over.clear()
                due = time.monotonic() + step
                continue
            if isinstance(frame, BaseException):
                raise frame
            if frame is None:
                left.discard(position)
                over.append(position)
                continue
            yield position, frame
            turns[position].release()
            if time.monotonic() >= due:
                yield Pause(tuple(over))
                over.clear()
                due = time.monotonic() + step
        yield Pause(tuple(over))
    finally:
        stopped.set()
        for turn in turns:
            turn.release()
