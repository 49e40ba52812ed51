"""A deadline for work in this process: after so many seconds of its own computing it is broken off.

By a timer of the system that counts what the process computes, and not the time that others take from it: a busy machine
changes nothing about what is decoded. Setting it costs microseconds. It ends work between two steps of Python, and so
whatever decoders do in loops of Python or in pieces; what one of them does in one call of C is bounded by `costly_files`
and the limits of `images`. Where files are strangers', the search service decodes in processes that can be ended.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Overrun(BaseException):
    """The time is over. No `Exception`: decoders catch those, and would go on."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises `Overrun` within the block once it has computed for so many seconds.

    Without effect in threads other than the first, where a deadline is set already or the timer is another's.
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
    # A handler that was not set by Python is None, and could not be put back.
    return signal.getsignal(signal.SIGVTALRM) in (signal.SIG_DFL, signal.SIG_IGN)


def _over(number: int, frame: object) -> None:
    raise Overrun
