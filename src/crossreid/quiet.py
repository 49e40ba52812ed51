"""Silence tools that log advice about internal steps, which the user cannot act on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_before = logging.NOTSET


@contextmanager
def without_warnings() -> Iterator[None]:
    """Log nothing below an error in the block, in any thread; the last of several blocks to end restores the old level."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = logging.root.manager.disable
            logging.disable(max(_before, logging.WARNING))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                logging.disable(_before)
