"""What changes to entries may have left behind: kept images without an entry, traces of deleted entries in files.

Housekeeping looks for either when it may exist. A change that fails, or dies with its process, may have left both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from crossreid.service.shared_memory import SharedMemory

_IMAGES, _TRACES = 0, 1


class Leftovers:
    """Whether there may be `images` and `traces`: at first both, as it is unknown how an earlier service ended.

    Args:
        memory: what all workers on this machine share, this one being number `worker`; None for a single process.
    """

    def __init__(self, memory: SharedMemory | None = None, worker: int = 0) -> None:
        self._left = np.ones(2, np.uint8) if memory is None else memory.left
        self._changing = np.zeros(1, np.uint8) if memory is None else memory.changing
        self._worker = worker

    @property
    def images(self) -> bool:
        return bool(self._left[_IMAGES])

    @images.setter
    def images(self, there: bool) -> None:
        self._left[_IMAGES] = there

    @property
    def traces(self) -> bool:
        return bool(self._left[_TRACES])

    @traces.setter
    def traces(self, there: bool) -> None:
        self._left[_TRACES] = there

    @contextlib.contextmanager
    def of_change(self, *, deletes: bool) -> Iterator[None]:
        """A change, one at a time per worker: it leaves traces if it `deletes`, and may leave anything if it fails."""
        self._changing[self._worker] = 1
        try:
            yield
        except BaseException:
            self._left[:] = 1
            raise
        else:
            if deletes:
                self._left[_TRACES] = 1
        finally:
            self._changing[self._worker] = 0
