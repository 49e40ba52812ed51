"""What the processes of a loader and the one that they load for have agreed on: signals, and errors handed on."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import Any

from crossreid.data.records import DataError


def leave_signals(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one decides, and needs the batches under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def raising(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives; an error that a worker handed on is raised here, without that worker's traceback in it."""
    for loaded in loader:
        if isinstance(loaded, DataError):
            # A new one: raising `loaded` itself ties this frame, and the workers it holds, into a cycle that ends late.
            raise DataError(*loaded.args)
        yield loaded
