"""How many requests at a time are one key's: no more than the places that are free, so that there is always room for another's."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

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
        return free > 0 and (alone or self._held[name] < free)

    @contextlib.contextmanager
    def place(self, name: str) -> Iterator[None]:
        """A place, until the block ends."""
        self._held[name] += 1
        try:
            yield
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
