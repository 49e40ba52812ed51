"""The processes that share a job of embedding: who they are, and that no others are at it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import torch

from crossreid.data.records import DataError


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that share a job: this one's number and how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def device(self) -> str | None:
        """A GPU of this process's own, where there are GPUs."""
        if self.world == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            torch.distributed.barrier()


@contextmanager
def process_group() -> Iterator[Group]:
    """The processes that torchrun started, or this one alone."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield Group()
        return
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        yield Group(rank, world)
    finally:
        torch.distributed.destroy_process_group()


def loader_workers(device: torch.device, world: int) -> int:
    """Loader processes that suit this machine: its cores less those that compute, at most 8 a GPU, 4 without one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spare = cores // world - 1
    return max(1, min(8, spare)) if device.type == "cuda" else max(0, min(4, spare))


@contextmanager
def locked(parts: Path, group: Group) -> Iterator[None]:
    """This process's own lock while it works; the first process makes sure that no other job's process still does."""
    with open(parts / f"lock-{group.rank}", "a+", encoding="utf-8") as own:
        _take(own, parts)
        if group.rank == 0:
            for other in sorted(parts.glob("lock-*")):
                if other.name != "lock-0":
                    with open(other, "a+", encoding="utf-8") as held:
                        _take(held, parts)
        own.seek(0)
        own.truncate()
        own.write(str(os.getpid()))
        own.flush()
        yield


def _take(lock: TextIO, parts: Path) -> None:
    try:
        # Not flock, which loader processes would inherit and, for seconds, survive a killed parent with.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # what else the system says is not that another holds it
        lock.seek(0)
        raise DataError(
            f"{parts.parent}: process {lock.read().strip() or 'of another job'} is embedding into it. Wait for it to end, "
            "stop it, or choose another --out."
        ) from error
