"""Read the bytes of a batch's images before they are needed, so that loading does not wait for a store's latency.

A loader process knows which batches it gets, so while it decodes one, threads read the rest of it and the next. Files
are read when they are decoded: the system reads ahead by itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch.utils.data import get_worker_info

from crossreid.data.addresses import Address
from crossreid.data.images import content_of
from crossreid.data.object_storage import THREADS
from crossreid.data.records import Record

MOST = 256 << 20  # bytes per process that may be ready or in flight; the current batch may have more
_GUESS = 1 << 20  # for an image whose size was not listed


class ReadingAhead:
    """Reads objects ahead for the batches of a plan, which are requested in order.

    Args:
        records: the records that `plan` indexes.
        plan: the record indices of each batch. With W loader processes, number w gets batches w, w + W and so on.
        ahead: batches to read ahead of the current one; with 0 only that one.
    """

    def __init__(self, records: Sequence[Record], plan: Sequence[Sequence[int]], ahead: int = 1) -> None:
        self.records, self.plan, self.ahead = records, plan, ahead
        self._number_of = {positions[0]: number for number, positions in enumerate(plan) if len(positions)}
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._under_way: dict[str, Future[bytes]] = {}

    def batch(self, positions: Sequence[int]) -> list[Future[bytes] | None]:
        """Return a future of the bytes of each image in the current batch, None for a file; only the results raise."""
        wanted = [self.records[position].path for position in positions]
        if not any(isinstance(path, Address) for path in wanted):
            return [None] * len(wanted)
        if self._process != os.getpid():  # threads are not inherited by a loader process
            self._pool, self._process, self._under_way = ThreadPoolExecutor(THREADS), os.getpid(), {}
        due = {path.text: path for path in wanted if isinstance(path, Address)}
        asked = {text: self._ask(address) for text, address in due.items()}
        kept = dict(asked)
        room = MOST - sum(map(_size, due.values()))
        for address in self._next(positions):
            room -= _size(address)
            if room < 0:
                break
            kept[address.text] = self._ask(address)
        self._under_way = kept
        return [asked[path.text] if isinstance(path, Address) else None for path in wanted]

    def _ask(self, address: Address) -> Future[bytes]:
        assert self._pool is not None
        known = self._under_way.get(address.text)
        return known if known is not None else self._pool.submit(content_of, address)

    def _next(self, positions: Sequence[int]) -> list[Address]:
        number = self._number_of.get(positions[0])
        if number is None:
            return []
        worker = get_worker_info()
        step = 1 if worker is None else worker.num_workers
        following = self.plan[number + step : number + 1 + self.ahead * step : step]
        paths = [self.records[position].path for batch in following for position in batch]
        return [path for path in dict.fromkeys(paths) if isinstance(path, Address)]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_pool": None, "_process": 0, "_under_way": {}}


def _size(address: Address) -> int:
    return address.state[0] if address.state[0] >= 0 else _GUESS
