"""Processes that decode images. One that takes too long over a file is killed, and the next file gets a new one.

A decoder that hangs in C can be stopped in no other way. Processes are started when first needed, at most one per
calling thread, and decode one file after another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe
from typing import Any, Unpack

import numpy as np

from crossreid.data.images import ImageTooLarge, NotAnImage, Wanted
from crossreid.data.records import DataError
from crossreid.service.decoder_process import READY

_START = 60.0  # seconds for a process to start
_PATIENCE = 3  # wall-clock seconds per CPU second that a file has, as the machine computes other things too
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)  # variables of the environment that are passed on
_KINDS = {"large": ImageTooLarge, "none": NotAnImage, "damaged": DataError}
_SCRIPT = "import sys; sys.path[:] = sys.argv[2:]; from crossreid.service.decoder_process import serve; serve(int(sys.argv[1]))"


def _environment() -> dict[str, str]:
    """What Python needs of the environment, and none of the service's secrets, such as the token of a cluster."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(("PYTHON", "LC_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Decoders:
    """Decodes files in separate processes. May be called from several threads.

    Args:
        seconds: CPU seconds that a file may take; after three times as many of wall-clock time its process is killed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._idle: list[_Decoder] = []
        self._lock, self._closed = threading.Lock(), False

    def decode(self, content: bytes, name: str, **wanted: Unpack[Wanted]) -> np.ndarray:
        """As `crossreid.data.images.decode` of the bytes of a file, `(H, W, 3)` uint8 RGB, and raises as it does.

        Raises:
            ImageTooLarge: also for a file that takes too long or too much memory.
            DataError: also for a file that ended the process.
        """
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        if decoder is None or not decoder.alive():
            decoder = _Decoder()
        asked = {**wanted, "name": name, "seconds": self._seconds}
        try:
            pixels = decoder.decode(asked, content, _PATIENCE * self._seconds)
        except DataError:
            self._put_back(decoder)
            raise
        except BaseException:
            decoder.end()
            raise
        self._put_back(decoder)
        return pixels

    def _put_back(self, decoder: _Decoder) -> None:
        with self._lock:
            if decoder.alive() and not self._closed:
                self._idle.append(decoder)
                return
        decoder.end()

    def close(self) -> None:
        """Stop the processes."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for decoder in idle:
            decoder.end()


class _Decoder:
    """One process, and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            # Its own session, so that Ctrl-C does not reach it; what decoders print about broken files is discarded.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT, str(theirs.fileno()), *sys.path], pass_fds=[theirs.fileno()],
                env=_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._connection = ours
        try:
            if not ours.poll(_START) or ours.recv_bytes(len(READY)) != READY:
                raise RuntimeError("a process that decodes images did not start")
        except (EOFError, OSError) as error:
            self.end()
            raise RuntimeError("a process that decodes images ended as it was started") from error
        except BaseException:
            self.end()
            raise

    def decode(self, asked: dict[str, Any], content: bytes, seconds: float) -> np.ndarray:
        try:
            self._connection.send_bytes(json.dumps(asked).encode())
            self._connection.send_bytes(content)
            if not self._connection.poll(seconds):
                self.end()
                raise ImageTooLarge(f"{asked['name']} takes more than {seconds:g} seconds to decode.")
            told = json.loads(self._connection.recv_bytes())
            if "shape" in told:
                return np.frombuffer(self._connection.recv_bytes(), np.uint8).reshape(told["shape"])
        except (EOFError, OSError) as error:
            self.end()
            raise DataError(f"{asked['name']} cannot be decoded: the decoder crashed on it.") from error
        raise _KINDS[told["kind"]](told["message"])

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.close()
        self._process.kill()
        self._process.wait()
