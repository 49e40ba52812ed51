"""What the processes of a loader and the one that they load for have agreed on: signals, errors handed on, memory that both see.

Memory is what loading is made of: a page that is touched for the first time takes the system a microsecond or more, and an image of
256 x 128 has 24 of them. So both sides use theirs again.
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

_TRIM, _MMAP = -1, -3  # glibc's names of the sizes from which on freed memory is given back, by `mallopt`
_TURNS = 3  # batches of a process under way: one is read, one lies ready, one is written (torch's default of two ahead)


def begin(worker: int) -> None:
    """What a loader's process does first.

    Ctrl-C reaches every process of a terminal; the main one decides, and needs the batches under way. And memory that an image took is
    kept for the next one, where the C library can be told so.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(_MMAP, 32 << 20)
    mallopt(_TRIM, 256 << 20)


def as_arrays(value: Any) -> Any:
    """A tuple with arrays in place of its tensors, in it and in tuples of it: torch hands each tensor over as a file of its own."""
    return with_each(value, Tensor, lambda tensor: tensor.numpy())


def as_tensors(value: Any) -> Any:
    """The other way round."""
    return with_each(value, np.ndarray, torch.from_numpy)


def raising(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives, arrays in it as tensors; an error that a worker handed on is raised here, without its traceback in it."""
    for loaded in loader:
        if isinstance(loaded, DataError):
            # A new one: raising `loaded` itself ties this frame, and the workers it holds, into a cycle that ends late.
            raise DataError(*loaded.args)
        yield as_tensors(loaded)


class Place(NamedTuple):
    """Where a process has laid a batch of so many images."""

    worker: int
    turn: int
    images: int


class SharedBatches:
    """Memory for batches of bytes that is there once and used in turn, instead of some for each batch.

    A process has three places. It is asked for its fourth batch after its second has been taken, and that after the first has been
    done with: what `get` returned is to be used up before the loader is asked for the next batch.

    Args:
        workers: processes; with 0 there is nothing to share.
        most: images of a batch at most.
        shape: of an image.
    """

    def __init__(self, workers: int, most: int, shape: tuple[int, ...]) -> None:
        self._shape = (workers, _TURNS, most, *shape)
        self._memory: Tensor | None = None
        self._turn = 0

    def lay_out(self) -> None:
        """Take the memory, once, before processes are started that are to see it."""
        if self._memory is None:
            self._memory = torch.empty(self._shape, dtype=torch.uint8).share_memory_()

    def put(self, images: Sequence[np.ndarray]) -> Place | Tensor:
        """Lay the images of a batch in a place; where there is no process but one, they are it."""
        worker = get_worker_info()
        if worker is None:
            return torch.from_numpy(np.stack(images))
        place = Place(worker.id, self._turn, len(images))
        self._turn = (self._turn + 1) % _TURNS
        np.stack(images, out=self.get(place).numpy())
        return place

    def get(self, place: Place | Tensor) -> Tensor:
        """The images at a place, `(N, ...)` uint8."""
        if isinstance(place, Tensor):
            return place
        assert self._memory is not None
        return self._memory[place.worker, place.turn, : place.images]
