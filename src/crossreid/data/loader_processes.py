"""Conventions between loader processes and the process that they load for: signals, passing errors, shared memory.

Loading is dominated by memory: touching a page for the first time costs the system a microsecond or more, and a 256 x
128 image has 24 pages. So both sides reuse theirs.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from crossreid.data.records import DataError
from crossreid.data.sending import with_each

_TRIM, _MMAP = -1, -3  # glibc's `mallopt` parameters for the size from which freed memory is returned
_TURNS = 3  # batches in flight per process: one read, one ready, one written (torch's default of two ahead)


def begin(worker: int) -> None:
    """Set up a loader process.

    Ctrl-C reaches every process of a terminal; the main one decides, and needs the batches in flight. And memory used
    by an image is kept for the next one, if the C library supports it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(_MMAP, 32 << 20)
    mallopt(_TRIM, 256 << 20)


def as_arrays(value: Any) -> Any:
    """Replace tensors in nested tuples with arrays, because torch passes each tensor as a separate file."""
    return with_each(value, Tensor, lambda tensor: tensor.numpy())


def as_tensors(value: Any) -> Any:
    """Undo `as_arrays`."""
    return with_each(value, np.ndarray, torch.from_numpy)


def raising(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield a loader's items with arrays as tensors; raise errors passed on by a worker, without its traceback."""
    for loaded in loader:
        if isinstance(loaded, DataError):
            # A new error: raising `loaded` itself would tie this frame and its workers into a reference cycle that is
            # freed late.
            raise DataError(*loaded.args)
        yield as_tensors(loaded)


class Place(NamedTuple):
    """The slot in which a process has put a batch, and its number of images."""

    worker: int
    turn: int
    images: int


class SharedBatches:
    """Memory for batches of bytes that is allocated once and reused in turn, instead of per batch.

    Each process has three slots. Its fourth batch is requested after its second was taken, and that after the first
    was used up: what `get` returned must be used up before the loader is asked for the next batch.

    Args:
        workers: number of processes; with 0 there is nothing to share.
        most: the most images per batch.
        shape: of an image.
    """

    def __init__(self, workers: int, most: int, shape: tuple[int, ...]) -> None:
        self._shape = (workers, _TURNS, most, *shape)
        self._memory: Tensor | None = None
        self._turn = 0

    def lay_out(self) -> None:
        """Allocate the memory, once, before the processes that share it are started."""
        if self._memory is None:
            self._memory = torch.empty(self._shape, dtype=torch.uint8).share_memory_()

    def put(self, images: Sequence[np.ndarray]) -> Place | Tensor:
        """Put the images of a batch in a slot; with a single process, return them directly."""
        worker = get_worker_info()
        if worker is None:
            return torch.from_numpy(np.stack(images))
        place = Place(worker.id, self._turn, len(images))
        self._turn = (self._turn + 1) % _TURNS
        np.stack(images, out=self.get(place).numpy())
        return place

    def get(self, place: Place | Tensor) -> Tensor:
        """Return the images in a slot, `(N, ...)` uint8."""
        if isinstance(place, Tensor):
            return place
        assert self._memory is not None
        return self._memory[place.worker, place.turn, : place.images]
