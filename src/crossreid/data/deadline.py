"""A deadline for work in this process: it is aborted after a number of seconds of its own computing.

It uses a system timer that counts this process's computing time, not time taken by others: a busy machine does not
change what is decoded. Setting it costs microseconds. It interrupts between two Python steps, and so whatever decoders
do in Python loops or in pieces; what a decoder does in one C call is bounded by `costly_files` and the limits of
`images`. If files come from strangers, the search service decodes in processes that can be killed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Overrun(BaseException):
    """The time is up. Not an `Exception`: decoders catch those and would continue."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Overrun` within the block once it has computed for `seconds`.

    Has no effect in threads other than the main one, within another deadline, or if the timer is in use.
    """
    if not _can_be_set():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _over)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _can_be_set() -> bool:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    # A handler that was not set by Python is None, and could not be restored.
    return signal.getsignal(signal.SIGVTALRM) in (signal.SIG_DFL, signal.SIG_IGN)


def _over(number: int, frame: object) -> None:
    raise Overrun
