"""How often somebody may ask: token buckets."""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST_NAMES = 10_000


class TokenBuckets:
    """Buckets by name: `rate` a second, `burst` at once. The names longest unheard of are forgotten."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str, rate: float, burst: float) -> float:
        """Take a token: 0, or the seconds until there is one, and then none is taken."""
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
