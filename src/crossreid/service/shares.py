"""How many requests at a time are one key's: no more than the places that are free, so that there is always room for another's."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from crossreid.service.shared_memory import SharedMemory, number_of

_KEPT = 16  # of so many places one is kept for administrators


class Shares:
    """Places for requests. Who is alone has half of them, of two greedy ones each has a third, and as much stays free.

    Args:
        places: how many there are; of each 16 one is for administrators.
    """

    def __init__(self, places: int) -> None:
        self._places, self._kept = places, places // _KEPT
        self._held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._held.total()

    def has_room(self, name: str, *, administers: bool = False, alone: bool = False) -> bool:
        """Whether one more is this one's; `alone`: there is nobody else to keep room for."""
        free = self._places - self.taken - (0 if administers or alone else self._kept)
        return free > 0 and (alone or self._of(name) < free)

    @contextlib.contextmanager
    def place(self, name: str, *, administers: bool = False, alone: bool = False) -> Iterator[bool]:
        """A place until the block ends, where there is room for one more; whether there is."""
        if not self.has_room(name, administers=administers, alone=alone):
            yield False
            return
        self._held[name] += 1
        try:
            yield True
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    def _of(self, name: str) -> int:
        return self._held[name]


class SharedShares(Shares):
    """The same places for the requests of all workers together. `worker` is the number of this one."""

    def __init__(self, places: int, memory: SharedMemory, worker: int) -> None:
        super().__init__(places)
        self._memory, self._worker = memory, worker

    @property
    def taken(self) -> int:
        return int(np.count_nonzero(self._memory.owners >= 0))

    @contextlib.contextmanager
    def place(self, name: str, *, administers: bool = False, alone: bool = False) -> Iterator[bool]:
        """As `Shares.place`."""
        memory, at = self._memory, -1
        with memory.locked():
            if self.has_room(name, administers=administers, alone=alone):
                at = int(np.argmin(memory.owners))  # a free one is -1
                memory.names[at], memory.owners[at] = number_of(name), self._worker
        try:
            yield at >= 0
        finally:
            if at >= 0:
                memory.owners[at] = -1  # which needs no lock: nobody else writes here before

    def _of(self, name: str) -> int:
        memory = self._memory
        return int(np.count_nonzero((memory.names == number_of(name)) & (memory.owners >= 0)))
