"""Ctrl-C, and the SIGTERM that schedulers send: they stop a run after its current step and a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from crossreid.terminal import errors


class Interrupted(BaseException):
    """A signal asked the run to stop, and a checkpoint was written. Not an error: `except Exception` lets it pass."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after writing a checkpoint")
        self.signal_number = signal_number


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list while the block runs; a second signal acts as it would have before."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}

    def receive(number: int, frame: object) -> None:
        received.append(number)
        for each, handler in handlers.items():
            signal.signal(each, handler)
        errors.print("stopping after this step; repeat to stop at once, back to the last checkpoint.")

    for number in numbers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
