"""The processes that share an embedding job, as started by torchrun, and their loader processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

from crossreid.errors import CrossreidError
from crossreid.processors import processors

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that share a job: this one's number and how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def device(self) -> str | None:
        """Return this process's own GPU; None without GPUs."""
        if self.world == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"

    def wait(self) -> None:
        """Wait until all processes reach this call."""
        if self.world > 1:
            torch.distributed.barrier()

    def shared(self, call: Callable[[], T]) -> T:
        """Call `call` in the first process; return its result, or raise its `CrossreidError`, in all processes."""
        if self.world == 1:
            return call()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = call()
            except CrossreidError as error:
                outcome[1] = error
        torch.distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]  # type: ignore[no-any-return]


@contextmanager
def process_group() -> Iterator[Group]:
    """Yield the processes started by torchrun, or this one alone."""
    group = _started()
    if group.world == 1:
        yield Group()
        return
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        yield group
    finally:
        torch.distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process reports for all: the first one started by torchrun, or the only one."""
    group = _started()
    return group.world == 1 or group.rank == 0


def loader_workers(device: torch.device, world: int) -> int:
    """Return the number of loader processes for this machine: its spare cores, at most 8 per GPU, 4 without one."""
    spare = processors() // world - 1
    return max(1, min(8, spare)) if device.type == "cuda" else max(0, min(4, spare))


def _started() -> Group:
    return Group(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
