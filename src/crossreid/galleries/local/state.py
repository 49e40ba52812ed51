"""What searches of a gallery in process see: the vectors, the served index, and what filters leave of both."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crossreid.galleries.filters import Filter
from crossreid.galleries.local.faiss_index import ServedIndex
from crossreid.galleries.local.vector_table import VectorTable

_FEW, _SHARE = 10_000, 0.05  # entries, or share of them, up to which those left by a filter are compared one by one
_REMEMBERED = 16  # filters per state


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """What a filter leaves of a state: positions `(N,)` bool, or None for all; how many, and how many covered ones."""

    allowed: np.ndarray | None
    count: int
    within: int
    members: np.ndarray | None  # as the index's bitmap


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """Replaced as a whole; only its cache of filters ever changes."""

    table: VectorTable
    served: ServedIndex | None = None
    _chosen: dict[Filter | None, Chosen] = field(default_factory=dict)

    @property
    def covered(self) -> int:
        """The position up to which the index covers all, itself excluded."""
        return 0 if self.served is None else int(np.searchsorted(self.table.rows, self.served.through, side="right"))

    def without(self, rows: list[int]) -> State:
        """The same without some rows, which may already be gone."""
        return State(self.table.without(rows), self.served) if rows else self

    def remembered(self, filter: Filter | None) -> Chosen | None:
        """The cached result of a filter, if any."""
        return self._chosen.get(filter)

    def choose(self, filter: Filter | None, rows: np.ndarray | None) -> Chosen:
        """What a filter leaves, only of `rows` if they are given; the result is cached."""
        if len(self._chosen) >= _REMEMBERED:
            self._chosen.clear()
        return self._chosen.setdefault(filter, self._choose(filter, rows))

    def _choose(self, filter: Filter | None, rows: np.ndarray | None) -> Chosen:
        allowed, covered = self.table.allowed(filter, rows), self.covered
        if allowed is None:
            return Chosen(None, len(self.table), covered, None)
        within = int(allowed[:covered].sum())
        members = None
        if self.served is not None and not _few(within, covered, filter):
            members = self.served.members(self.table.rows[:covered][allowed[:covered]])
        return Chosen(allowed, int(allowed.sum()), within, members)


def _few(within: int, covered: int, filter: Filter | None) -> bool:
    """Whether so few covered positions are left that comparing them one by one is as fast as the index."""
    return within <= _SHARE * covered or (filter is not None and within <= _FEW)
