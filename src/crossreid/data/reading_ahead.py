"""The bytes of a batch's images, asked for before they are needed: how long a store takes to answer is then not waited for.

A loader's process knows which batches come to it, so that while it decodes one, threads read the rest of it and the next.
Files are read when they are decoded: the system reads ahead by itself.
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

MOST = 256 << 20  # bytes of a process that may lie ready or be under way; the batch that is due may have more
_GUESS = 1 << 20  # of an image whose size no listing said


class ReadingAhead:
    """Reads the objects of the batches of a plan ahead, as its batches are asked for in their order.

    Args:
        records: of all positions in `plan`.
        plan: the positions of each batch. Of W loader processes number w gets the batches w, w + W and so on.
        ahead: batches to read ahead of the one that is due; with 0 only that.
    """

    def __init__(self, records: Sequence[Record], plan: Sequence[Sequence[int]], ahead: int = 1) -> None:
        self.records, self.plan, self.ahead = records, plan, ahead
        self._number_of = {positions[0]: number for number, positions in enumerate(plan) if len(positions)}
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._under_way: dict[str, Future[bytes]] = {}

    def batch(self, positions: Sequence[int]) -> list[Future[bytes] | None]:
        """Of each image of a batch that is due its bytes to come, None of a file; raises nothing, the results do."""
        wanted = [self.records[position].path for position in positions]
        if not any(isinstance(path, Address) for path in wanted):
            return [None] * len(wanted)
        if self._process != os.getpid():  # threads do not come along into a loader's process
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
