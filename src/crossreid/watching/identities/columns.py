"""In-memory rows of plain columns, added and removed one at a time and compared all at once."""

from __future__ import annotations

from typing import Any

import numpy as np


class Columns:
    """Named NumPy columns with room to grow. A row keeps its position until removed; positions may then be reused."""

    def __init__(self, **kinds: type | str) -> None:
        self._columns = {name: np.zeros(64, dtype=kind) for name, kind in kinds.items()}
        self._live = np.zeros(64, dtype=bool)
        self._free: list[int] = []
        self.used = 0  # positions from here on have never been used

    def add(self, **values: Any) -> int:
        """Add a row; returns its position."""
        if self._free:
            position = self._free.pop()
        else:
            position, self.used = self.used, self.used + 1
            if self.used > len(self._live):
                self._columns = {name: np.concatenate([old, np.zeros_like(old)]) for name, old in self._columns.items()}
                self._live = np.concatenate([self._live, np.zeros_like(self._live)])
        for name, value in values.items():
            self._columns[name][position] = value
        self._live[position] = True
        return position

    def remove(self, position: int) -> None:
        """Remove a row."""
        self._live[position] = False
        self._free.append(position)

    @property
    def live(self) -> np.ndarray:
        """`(used,)`, whether there is a row at each position."""
        return self._live[: self.used]

    def __getitem__(self, name: str) -> np.ndarray:
        """A column `(used,)`; undefined at positions without a row."""
        return self._columns[name][: self.used]
