"""Whose image is decoded next: keys take turns, so that nobody waits for more than one image of each other key, and for
those being decoded."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextvars import ContextVar

# The name of the key whose request is being served; the guard sets it.
asker: ContextVar[str] = ContextVar("asker", default="")


class Turns:
    """Limits how many run at a time. Names take turns; within a name, first come, first served."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a place and hold it until the block ends."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(name)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, name: str) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # it was let in, but has been cancelled meanwhile
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            name, queue = next(iter(self._waiting.items()))
            called = queue.popleft()
            if queue:
                self._waiting.move_to_end(name)
            else:
                del self._waiting[name]
            if not called.done():
                called.set_result(None)
                return
        self._free += 1
