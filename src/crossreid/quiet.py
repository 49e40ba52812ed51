"""Tools that log advice about their own steps, which the user has no hand in: it is left out."""

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
    """Within it nothing below an error is logged, by any thread; the last of several to leave puts back what there was."""
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
