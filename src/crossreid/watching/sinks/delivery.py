"""Delivery of events from a watch's state to a sink: none is lost, and watching never waits for external systems.

A sink's progress is stored after it has accepted events. After a kill between the two it receives some of them again,
with the same ids: at least once. Event files know which events they have, so each is in them exactly once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event
from crossreid.watching.sinks.line_files import LineFile
from crossreid.watching.sinks.sink import Outbox, Sink, SinkFault

_log = logging.getLogger("crossreid.watching")


def deliver(sink: Sink, outbox: Outbox, limit: int = 500) -> int:
    """Send a sink the events that it lacks, `limit` at a time; returns how many.

    Raises:
        SinkFault: it accepted none or only some of the last batch, which stays undelivered.
    """
    count = 0
    while events := outbox.undelivered(sink.name, limit):
        sink.send(events)
        outbox.delivered(sink.name, events[-1].number)
        count += len(events)
    return count


def catch_up(file: LineFile, outbox: Outbox, limit: int = 500) -> Iterator[list[Event]]:
    """Append the events that a file lacks, by its content rather than recorded progress; yields what was appended.

    Raises:
        SinkFault: the last batch could not be written.
    """
    while events := outbox.events(file.last, limit):
        file.send(events)
        yield events


class Delivery:
    """Sends events to a sink in its own thread, retrying until it accepts them.

    Args:
        sink: their destination; used only by the thread.
        outbox: where they are stored.
        limit: maximum number of events at a time.
        poll: seconds between checks for events that were not announced by `wake`.
        pauses: seconds after the first fault, and the longest pause; each further fault doubles it, and up to half is
            added at random, so that many sinks do not retry at the same moment. A sink may request another pause
            (`SinkFault.wait`), up to the longest.
        observe: called after each try with whether it failed.
    """

    def __init__(
        self,
        sink: Sink,
        outbox: Outbox,
        *,
        limit: int = 100,
        poll: float = 1.0,
        pauses: tuple[float, float] = (1.0, 300.0),
        observe: Callable[[bool], None] = lambda fault: None,
    ) -> None:
        self.sink, self.faults = sink, 0
        self._outbox, self._limit, self._poll, self._pauses = outbox, limit, poll, pauses
        self._observe = observe
        self._wake, self._over = threading.Event(), threading.Event()
        self._chance = random.Random()
        self._thread = threading.Thread(target=self._run, name=f"to {sink.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Announce events. A failing sink is not retried before its pause is over."""
        self._wake.set()

    def end(self) -> None:
        """Try once to deliver what is left, and stop. The next watch of the folder delivers what is not accepted."""
        self._over.set()
        self._wake.set()

    def ended(self, seconds: float) -> bool:
        """Whether the thread ends within this many seconds and the sink has all events."""
        self._thread.join(seconds)
        return not self._thread.is_alive() and self.faults == 0

    def _run(self) -> None:
        try:
            while True:
                last = self._over.is_set()
                pause = self._try()
                if last:
                    return
                if pause is None:
                    self._wake.wait(self._poll)
                    self._wake.clear()
                else:
                    self._over.wait(pause)
        finally:
            self.sink.close()

    def _try(self) -> float | None:
        """Deliver all pending events; returns the seconds to wait after a fault, or None."""
        try:
            deliver(self.sink, self._outbox, self._limit)
        except Exception as error:
            # This includes bugs in a sink and a locked database: events are kept, and the next try may succeed.
            self.faults += 1
            self._observe(True)
            first, longest = self._pauses
            pause = min(longest, first * 2 ** min(self.faults - 1, 30)) * (1 + self._chance.random() / 2)
            if isinstance(error, SinkFault) and error.wait is not None:
                pause = min(longest, max(first, error.wait))
            # At the end the state may be closed; `ended` reports it to whoever stops the thread.
            if self.faults == 1 and not self._over.is_set():
                expected = isinstance(error, CrossreidError)
                _log.warning(
                    "%s: %s Events are kept for it.", self.sink.name, error, exc_info=None if expected else error
                )
            return pause
        if self.faults:
            _log.warning("%s accepts events again, after %d failures.", self.sink.name, self.faults)
        self.faults = 0
        self._observe(False)
        return None
