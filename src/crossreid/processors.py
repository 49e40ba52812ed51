"""How many processors there are for this process, which a container or a scheduler may have given a part of the machine's."""

from __future__ import annotations

import os


def processors() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
