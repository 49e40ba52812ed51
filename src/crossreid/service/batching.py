"""Micro-batching: what many requests need at the same time is computed in one batch.

The worker takes whatever has arrived while it was busy. Only an idle worker waits, and for no longer than `wait`: under
load batches fill by themselves, and a single request is hardly delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Batcher(Generic[Asked, Found]):
    """Collects what is submitted and processes it in its own thread, one batch at a time, in order.

    Args:
        process: maps a batch to its results, one each, in order; an error is raised for everyone in the batch.
        most: largest sum of `size` in a batch; an item that is larger by itself is processed alone.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        process: Callable[[list[Asked]], Sequence[Found]],
        *,
        most: int,
        wait: float,
        size: Callable[[Asked], int] = lambda _: 1,
        observe: Callable[[int], object] = lambda _: None,
        name: str = "batcher",
    ) -> None:
        self._process, self._size, self._observe = process, size, observe
        self._most, self._wait = most, wait
        self._queue: deque[tuple[Asked, asyncio.Future[Found]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._come: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start, in the running event loop."""
        self._come = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop after the current batch; what is still waiting is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for _, future in self._queue:
            future.cancel()
        self._queue.clear()
        self._thread.shutdown(wait=True)

    async def submit(self, asked: Asked) -> Found:
        """The result of one item. Raises what `process` raised."""
        assert self._come is not None, "start() first"
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._queue.append((asked, future))
        self._come.set()
        return await future

    async def _run(self) -> None:
        assert self._come is not None
        loop = asyncio.get_running_loop()
        while True:
            await self._come.wait()
            if self._wait and sum(self._size(asked) for asked, _ in self._queue) < self._most:
                await asyncio.sleep(self._wait)
            while self._queue:
                taken = self._take()
                if not taken:
                    continue
                self._observe(sum(self._size(asked) for asked, _ in taken))
                try:
                    found = await loop.run_in_executor(self._thread, self._process, [asked for asked, _ in taken])
                except asyncio.CancelledError:
                    for _, future in taken:
                        future.cancel()
                    raise
                except Exception as error:  # it is raised for whoever asked
                    for _, future in taken:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), result in zip(taken, found, strict=True):
                    if not future.done():
                        future.set_result(result)
            self._come.clear()

    def _take(self) -> list[tuple[Asked, asyncio.Future[Found]]]:
        """As many as fit into one batch, in order; requests that were abandoned are left out."""
        taken: list[tuple[Asked, asyncio.Future[Found]]] = []
        total = 0
        while self._queue:
            asked, future = self._queue[0]
            if future.done():
                self._queue.popleft()
                continue
            total += self._size(asked)
            if taken and total > self._most:
                break
            taken.append(self._queue.popleft())
        return taken
