"""Sources of frames: each camera is read and decoded in its own process, which passes on a frame on request.

If frames are not taken fast enough, a file drops none, as it is read no faster than its frames are taken. For a live
stream, or a file in real time, up to `ReadingOptions.queue` frames wait; when one more comes, the oldest is dropped and
counted. Two of the waiting frames are already in shared memory and are always delivered.
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
    """The frames of a camera in order, read in a process that starts now.

    A script that calls this needs `if __name__ == "__main__":` around its code, as the process imports the script.

    Args:
        start_index: index of the first wanted frame: one more than the last processed one. A film is entered
            there, exactly; a live stream continues with its current frames, numbered from there.
        modality: the camera's last modality, when resuming one that decides by itself.
    """
    return FrameSource(camera, options, start_index, modality)


class FrameSource(Iterator[Frame]):
    """A camera's frames in order; `open_source` makes it.

    counts: what happened to its frames, as of the last yielded frame.
    lost: why a stream is currently disconnected; "" if connected, and for files.
    ended: whether all frames have been yielded; a stream that was given up has ended, and `lost` says why.

    Iterating raises:
        DataError: the source cannot be opened, or its process died, as FFmpeg may on a hostile file.
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
        """The next frame if one comes within this many seconds (None: no limit), else None; None at the end, too."""
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
        """The descriptor of the frames' connection, for waiting for several sources at once."""
        return self._connection.fileno()

    def close(self) -> None:
        """Stop the process; no more frames are yielded."""
        self.ended = True
        if not self._connection.closed:
            self._connection.close()
            self._process.kill()  # it only reads, and may be blocked on a stream
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
            f"status {code}). In a script, code that opens sources must be under `if __name__ == '__main__':`."
        )


def sources_with_news(sources: Sequence[FrameSource], seconds: float | None = None) -> list[FrameSource]:
    """The sources that have something within this many seconds: a frame, news of a connection, or the end."""
    going = {source.fileno(): source for source in sources if not source.ended}
    return [going[ready] for ready in wait(list(going), seconds) if isinstance(ready, int)] if going else []
