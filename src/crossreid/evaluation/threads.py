"""Compiled work on rows, divided among as many threads as torch uses."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crossreid.processors import processors


def in_threads(part: Callable[[slice], None], rows: int, work: int) -> None:
    """Call `part` with slices that cover all rows; for little `work` (operations), with one, in this thread."""
    threads = _threads() if work > 1 << 16 else 1
    if threads == 1:
        part(slice(0, rows))
        return
    step = -(-rows // (2 * threads))  # two parts per thread: rows differ in work
    list(_pool(threads).map(part, (slice(start, min(start + step, rows)) for start in range(0, rows, step))))


def _threads() -> int:
    """Return torch's number of threads if it is loaded, else the number that it would use."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return processors()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a permanent pool: starting threads takes as long as ranking a small gallery."""
    return ThreadPoolExecutor(threads, thread_name_prefix="rank")
