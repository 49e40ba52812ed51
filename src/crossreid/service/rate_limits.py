"""Rate limits: token buckets, of one process or of all workers on a machine."""

from __future__ import annotations

import time
from collections import OrderedDict

import numpy as np

from crossreid.service.shared_memory import SETS, SharedMemory, number_of

_MOST_NAMES = 10_000


class TokenBuckets:
    """Buckets by name: `rate` per second, `burst` at once. The least recently used names are forgotten."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str, rate: float, burst: float) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        now = time.monotonic()
        left, at = self._left.get(name, (burst, now))
        left = min(burst, left + rate * (now - at))
        if left < 1:
            return (1 - left) / rate
        self._left[name] = (left - 1, now)
        self._left.move_to_end(name)
        if len(self._left) > _MOST_NAMES:
            self._left.popitem(last=False)
        return 0.0


class SharedTokenBuckets(TokenBuckets):
    """The same for all workers together: a name has one bucket, whichever worker is asked.

    The clock is the system's, the same for all processes.
    """

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__()
        self._memory = memory

    def wait(self, name: str, rate: float, burst: float) -> float:
        """As `TokenBuckets.wait`."""
        memory, number = self._memory, number_of(name)
        row = number % SETS
        names = memory.bucket_names[row]
        with memory.locked():
            now = time.monotonic()
            found = np.flatnonzero(names == number)
            if len(found):
                way = int(found[0])
                since = now - float(memory.bucket_at[row, way])
                left = min(burst, float(memory.bucket_left[row, way]) + rate * since)
            else:
                way, left = int(np.argmin(memory.bucket_at[row])), burst  # a free one has time 0
            if left < 1:
                return (1 - left) / rate
            names[way], memory.bucket_left[row, way], memory.bucket_at[row, way] = number, left - 1, now
        return 0.0
