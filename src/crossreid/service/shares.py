"""How many requests a key may have at a time: no more than there are free places, so others always find room."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from crossreid.service.shared_memory import SharedMemory, number_of

_KEPT = 16  # one of this many places is reserved for administrators


class Shares:
    """Places for requests. A single key gets half of them, two greedy ones a third each, and as many stay free.

    Args:
        places: how many there are; one of each 16 is for administrators.
    """

    def __init__(self, places: int) -> None:
        self._places, self._kept = places, places // _KEPT
        self._held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """The number of places taken."""
        return self._held.total()

    def has_room(self, name: str, *, administers: bool = False, alone: bool = False) -> bool:
        """Whether this name gets one more; `alone`: there is nobody else to keep room for."""
        free = self._places - self.taken - (0 if administers or alone else self._kept)
        return free > 0 and (alone or self._of(name) < free)

    @contextlib.contextmanager
    def place(self, name: str, *, administers: bool = False, alone: bool = False) -> Iterator[bool]:
        """Take a place until the block ends, if there is room for one more; yields whether there is."""
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
                at = int(np.argmin(memory.owners))  # free ones are -1
                memory.names[at], memory.owners[at] = number_of(name), self._worker
        try:
            yield at >= 0
        finally:
            if at >= 0:
                memory.owners[at] = -1  # needs no lock: nobody else writes here meanwhile

    def _of(self, name: str) -> int:
        memory = self._memory
        return int(np.count_nonzero((memory.names == number_of(name)) & (memory.owners >= 0)))
