"""The process that reads a camera's source: it decodes ahead, passes frames on as requested, and drops late ones.

Frames wait in this process's queue. When it is full, reading a file waits; for a stream, or a file read in real time,
the oldest waiting frame is dropped. The parent reports which slot of the shared memory is free, and gets the oldest
waiting frame in it. This process ends when the parent closes the connection or dies.
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

SLOTS = 2  # one that the parent copies from, and one being filled meanwhile


def decode(
    connection: Connection,
    other: int,
    camera: Camera,
    options: ReadingOptions,
    first: int,
    modality: Modality | None,
) -> None:
    """The process's main function: read a camera until it ends or nobody listens. `other` is the parent's id."""
    # Ctrl-C and a supervisor's SIGTERM reach all processes of a group; the parent decides, and this one ends with it.
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
    """The queue of decoded frames."""

    def __init__(self, options: ReadingOptions) -> None:
        self.options = options
        self.counts = FrameCounts()
        self.frames: deque[Frame] = deque()
        self.changed = threading.Condition()
        self.drops = options.real_time
        self.live = False
        self.said = ""  # why the connection is lost, "" if connected
        self.news = False
        self.ended: tuple[str, str] | None = None
        self.begun: tuple[float, float] | None = None

    def set_live(self, live: bool) -> None:
        self.live = live
        self.drops = self.drops or live

    def note(self, said: str) -> None:
        """Report to the parent that a connection is lost or restored."""
        with self.changed:
            self.said, self.news = said, True
            self.changed.notify_all()

    def put(self, frame: Frame) -> None:
        """Add a frame to the queue: at its time if reading in real time, dropping the oldest if it must not wait."""
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
        """The oldest waiting frame; the end, once all are taken; or, before either, news of the connection."""
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
                connection.recv()  # until the parent has closed
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
        os._exit(0)  # nobody listens; do not wait for the decoder


def _end_with(other: int) -> None:
    """End this process when its parent is gone, even if another child holds the connection open."""
    while os.getppid() == other:
        time.sleep(1)
    os._exit(0)
