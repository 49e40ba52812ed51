"""The process that reads a camera's source: it decodes ahead, hands frames on as they are asked for, and drops by the rule.

Frames wait in a queue of this process. When it is full, reading a file waits; of a stream, and of a file that is read in real
time, the frame that waits longest is dropped. The other side says which slot of the shared memory is free, and gets the
oldest frame that waits in it. The process ends when the other side closes the connection, and so when that process dies.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import deque
from dataclasses import asdict
from multiprocessing.connection import Connection

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.watching.cameras import Camera
from crossreid.watching.frames import Frame
from crossreid.watching.video.decoding import frames_of
from crossreid.watching.video.frame_memory import FrameMemory
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions

SLOTS = 2  # one that the other side copies from, and one that is filled meanwhile


def decode(
    connection: Connection,
    other: int,
    camera: Camera,
    options: ReadingOptions,
    first: int,
    modality: Modality | None,
) -> None:
    """Read a camera until it ends or nobody listens; what a process runs. `other` is the number of the process that listens."""
    # Ctrl-C, and a supervisor's SIGTERM, reach all processes of a group; the first one decides, and this one ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    waiting = _Waiting(options)
    sender = threading.Thread(target=_send, args=(connection, other, waiting), daemon=True)
    sender.start()
    threading.Thread(target=_end_with, args=(other,), daemon=True).start()
    ended: tuple[str, str] = ("end", "")
    try:
        for frame in frames_of(
            camera, options, waiting.counts, first, modality, live=waiting.set_live, noted=waiting.note
        ):
            waiting.put(frame)
        ended = ("end", waiting.said)
    except CrossreidError as error:
        ended = ("error", str(error))
    except Exception:
        ended = ("fault", traceback.format_exc())
    waiting.finish(ended)
    sender.join()


class _Waiting:
    """The frames that are decoded and wait for their turn."""

    def __init__(self, options: ReadingOptions) -> None:
        self.options = options
        self.counts = FrameCounts()
        self.frames: deque[Frame] = deque()
        self.changed = threading.Condition()
        self.drops = options.real_time
        self.live = False
        self.said = ""  # why the connection is lost, "" where there is one
        self.news = False
        self.ended: tuple[str, str] | None = None
        self.begun: tuple[float, float] | None = None

    def set_live(self, live: bool) -> None:
        self.live = live
        self.drops = self.drops or live

    def note(self, said: str) -> None:
        """Say on the other side that a connection is lost, or there again."""
        with self.changed:
            self.said, self.news = said, True
            self.changed.notify_all()

    def put(self, frame: Frame) -> None:
        """Add a frame: after the ones before it, in time where that is real, and by dropping the oldest where that is the rule."""
        if self.options.real_time and not self.live:
            now = time.monotonic()
            self.begun = self.begun or (now, frame.time)
            time.sleep(max(0.0, self.begun[0] + frame.time - self.begun[1] - now))
        with self.changed:
            while len(self.frames) >= self.options.queue:
                if self.drops:
                    self.frames.popleft()
                    self.counts.dropped += 1
                else:
                    self.changed.wait()
            self.frames.append(frame)
            self.changed.notify_all()

    def finish(self, ended: tuple[str, str]) -> None:
        with self.changed:
            self.ended = ended
            self.changed.notify_all()

    def take(self) -> Frame | str | tuple[str, str]:
        """The frame that waits longest; the end, once all are taken; or before that what there is to say of the connection."""
        with self.changed:
            while not (self.news or self.frames or self.ended):
                self.changed.wait()
            if self.news:
                self.news = False
                return self.said
            if self.frames:
                frame = self.frames.popleft()
                self.counts.given += 1
                self.counts.waiting = len(self.frames)
                self.changed.notify_all()
                return frame
            assert self.ended is not None
            return self.ended


def _send(connection: Connection, other: int, waiting: _Waiting) -> None:
    """Answer each free slot with a frame in it, until the end."""
    memory: FrameMemory | None = None
    try:
        while True:
            slot = connection.recv()
            while isinstance(taken := waiting.take(), str):
                connection.send(("note", taken, asdict(waiting.counts)))
            if not isinstance(taken, Frame):
                connection.send((*taken, asdict(waiting.counts)))
                connection.recv()  # until the other side has closed
                return
            if memory is None or taken.image.nbytes > memory.size:
                if memory is not None:
                    memory.close()
                memory = FrameMemory(SLOTS, taken.image.nbytes)
                memory.send(connection, other)
            memory.write(slot, taken.image)
            connection.send(
                ("frame", slot, taken.index, taken.time, taken.image.shape, int(taken.modality), asdict(waiting.counts))
            )
    except (EOFError, OSError):
        os._exit(0)  # nobody listens; what is being decoded is not waited for


def _end_with(other: int) -> None:
    """End this process when the one that it reads for is gone, though a child of that may hold its connection open."""
    while os.getppid() == other:
        time.sleep(1)
    os._exit(0)
