"""Compiled work on rows, shared among as many threads as torch uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_threads(part: Callable[[slice], None], rows: int, work: int) -> None:
    """Call `part` with slices that together are all rows; of little `work`, operations in all, with one slice here."""
    threads = torch.get_num_threads() if work > 1 << 16 else 1
    if threads == 1:
        part(slice(0, rows))
        return
    step = -(-rows // (2 * threads))  # two parts a thread: rows differ in work
    list(_pool(threads).map(part, (slice(start, min(start + step, rows)) for start in range(0, rows, step))))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: starting them takes as long as ranking a small gallery."""
    return ThreadPoolExecutor(threads, thread_name_prefix="rank")
