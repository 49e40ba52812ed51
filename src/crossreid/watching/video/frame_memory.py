"""Memory shared by two processes to pass images: slots of one size, in an unnamed file.

It disappears with the last process that has it open, however that process ends. The writer creates the memory, and a
larger one when images grow; messages state which slots are free.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

import numpy as np


class FrameMemory:
    """Slots of a fixed number of bytes.

    Args:
        descriptor: that of the file, closed by the object; None creates a file.
    """

    def __init__(self, slots: int, size: int, descriptor: int | None = None) -> None:
        self.slots, self.size = slots, size
        self.descriptor = _nameless(slots * size) if descriptor is None else descriptor
        self._map = mmap.mmap(self.descriptor, slots * size)

    def write(self, slot: int, image: np.ndarray) -> None:
        """Copy a uint8 image into a slot."""
        self._view(slot, image.shape)[...] = image

    def read(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of the image in a slot."""
        return self._view(slot, shape).copy()

    def send(self, to: Connection, process: int) -> None:
        """Send the memory to another process, which receives it by `received`."""
        to.send(("memory", self.slots, self.size))
        send_handle(to, self.descriptor, process)

    @classmethod
    def received(cls, slots: int, size: int, by: Connection) -> FrameMemory:
        """The memory announced by a message."""
        return cls(slots, size, recv_handle(by))

    def close(self) -> None:
        self._map.close()
        os.close(self.descriptor)

    def _view(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self._map, np.uint8, int(np.prod(shape)), slot * self.size).reshape(shape)


def _nameless(size: int) -> int:
    """The descriptor of an unnamed file, in memory if the system supports it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("crossreid-frames", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as stream:
            descriptor = os.dup(stream.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
