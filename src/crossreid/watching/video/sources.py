"""Sources of frames: each camera is read and decoded in a process of its own, which hands on a frame when one is asked for.

What is dropped when frames are not taken fast enough: of a file nothing, it is read no faster than its frames are taken. Of a
live stream, and of a file in real time, `ReadingOptions.queue` frames wait; when one more comes, the oldest is dropped and
counted. Of those that wait two are in the shared memory already, and are given in any case.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from crossreid.data.records import DataError, Modality
from crossreid.watching.cameras import Camera, shown_source
from crossreid.watching.frames import Frame
from crossreid.watching.video.decoding_process import SLOTS, decode
from crossreid.watching.video.frame_memory import FrameMemory
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions

_DEFAULTS = ReadingOptions()


def open_source(
    camera: Camera,
    options: ReadingOptions = _DEFAULTS,
    *,
    start_index: int = 0,
    modality: Modality | None = None,
) -> FrameSource:
    """The frames of a camera, one after the other; read in a process that begins now.

    A script that calls this needs `if __name__ == "__main__":` around what it runs, as the process imports it.

    Args:
        start_index: position of the first frame that is wanted: one more than the last that was dealt with. A film is entered
            there, exactly; a live stream goes on with its frames of now, numbered from there.
        modality: the one that the camera had last, for one that decides by itself and is gone on with.
    """
    return FrameSource(camera, options, start_index, modality)


class FrameSource(Iterator[Frame]):
    """A camera's frames in order; `open_source` makes it.

    counts: what happened to its frames, as of the last frame that was given.
    lost: why a stream has no connection at the moment; "" where it has, and of files.
    ended: whether all frames have been given; a stream that was given up is at its end, and `lost` says why.

    Iterating raises:
        DataError: the source cannot be opened, or its process died, as FFmpeg may of a hostile file.
    """

    def __init__(self, camera: Camera, options: ReadingOptions, start_index: int, modality: Modality | None) -> None:
        self.camera, self.options = camera, options
        self.counts = FrameCounts()
        self.lost = ""
        self.ended = False
        self._memory: FrameMemory | None = None
        context = multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=decode,
            args=(theirs, os.getpid(), camera, options, start_index, modality),
            name=f"crossreid-{camera.name}",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        for slot in range(SLOTS):
            self._connection.send(slot)

    def __next__(self) -> Frame:
        frame = self.poll(None)
        if frame is None:
            raise StopIteration
        return frame

    def poll(self, seconds: float | None = 0.0) -> Frame | None:
        """The next frame, if there is one within so many seconds; None waits for it. None is returned at the end, too."""
        while not self.ended:
            if seconds is not None and not self._connection.poll(seconds):
                return None
            try:
                message = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._died() from error
            frame = self._understood(message)
            if frame is not None:
                return frame
        return None

    def fileno(self) -> int:
        """Of the connection that frames come by, so that several sources can be waited for."""
        return self._connection.fileno()

    def close(self) -> None:
        """End the process; no frame is given any more."""
        self.ended = True
        if not self._connection.closed:
            self._connection.close()
            self._process.kill()  # it only reads, and may be waiting for a stream
            self._process.join()
            self._process.close()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _understood(self, message: tuple) -> Frame | None:
        kind, *told = message
        if kind == "memory":
            slots, size = told
            if self._memory is not None:
                self._memory.close()
            self._memory = FrameMemory.received(slots, size, self._connection)
            return None
        self.counts = FrameCounts(**told.pop())
        if kind == "frame" and self._memory is not None:
            slot, index, time, shape, modality = told
            image = self._memory.read(slot, shape)
            self._connection.send(slot)
            return Frame(self.camera.name, index, time, image, Modality(modality))
        if kind == "note":
            (self.lost,) = told
            return None
        (said,) = told
        self.close()
        if kind == "error":
            raise DataError(said)
        if kind == "fault":
            raise RuntimeError(f"the process that reads camera {self.camera.name!r} failed:\n{said}")
        self.lost = said
        return None

    def _died(self) -> DataError:
        self._process.join(2)
        code = self._process.exitcode
        self.close()
        return DataError(
            f"the process that reads camera {self.camera.name!r} ({shown_source(self.camera.source)}) ended unexpectedly (exit "
            f"status {code}). In a script, what opens sources must be below `if __name__ == '__main__':`."
        )


def sources_with_news(sources: Sequence[FrameSource], seconds: float | None = None) -> list[FrameSource]:
    """Those sources of which something came or comes within so many seconds: a frame, news of a connection, or the end."""
    going = {source.fileno(): source for source in sources if not source.ended}
    return [going[ready] for ready in wait(list(going), seconds) if isinstance(ready, int)] if going else []
