"""Events from the state of a watch to a sink: none is lost, whatever fails, and watching never waits for anyone outside.

How far a sink has come is kept after it has taken events, so that after a kill between the two it gets some of them again, under the
same ids: at least once. Files of events know which they have, and so have each exactly once.
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
    """Give a sink the events that it lacks, `limit` at a time; how many.

    Raises:
        SinkFault: it took none or only some of the last ones, which stay undelivered.
    """
    count = 0
    while events := outbox.undelivered(sink.name, limit):
        sink.send(events)
        outbox.delivered(sink.name, events[-1].number)
        count += len(events)
    return count


def catch_up(file: LineFile, outbox: Outbox, limit: int = 500) -> Iterator[list[Event]]:
    """Append the events that a file lacks, by what is in it, whatever was said to be delivered; what was appended each time.

    Raises:
        SinkFault: the disk did not take the last ones.
    """
    while events := outbox.events(file.last, limit):
        file.send(events)
        yield events


class Delivery:
    """Gives events to a sink in a thread of its own, again and again until it takes them.

    Args:
        sink: where they go; it is used by the thread alone.
        outbox: where they are kept.
        limit: events at a time.
        poll: seconds between two looks for events that nobody announced by `wake`.
        pauses: seconds after the first fault, doubled with each until the longest, and up to a half more by chance, so that many
            do not come back at the same moment. A sink may ask for another pause (`SinkFault.wait`), up to the longest.
        observe: is told after each try: whether it was a fault.
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
        """There are events. While the sink fails, it is left alone until its pause is over."""
        self._wake.set()

    def end(self) -> None:
        """Deliver what is left, once, and end. What the sink does not take is delivered by the next watch of the same folder."""
        self._over.set()
        self._wake.set()

    def ended(self, seconds: float) -> bool:
        """Whether the thread has ended within so many seconds, and the sink has all events."""
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
        """Deliver what there is; seconds to wait after a fault, None where there was none."""
        try:
            deliver(self.sink, self._outbox, self._limit)
        except Exception as error:
            # Also a bug of a sink, or a locked database: events are kept, and the next try may do.
            self.faults += 1
            self._observe(True)
            first, longest = self._pauses
            pause = min(longest, first * 2 ** min(self.faults - 1, 30)) * (1 + self._chance.random() / 2)
            if isinstance(error, SinkFault) and error.wait is not None:
                pause = min(longest, max(first, error.wait))
            # At the end the state may be closed, and who ends it is told by `ended`.
            if self.faults == 1 and not self._over.is_set():
                expected = isinstance(error, CrossreidError)
                _log.warning("%s: %s Events wait for it.", self.sink.name, error, exc_info=None if expected else error)
            return pause
        if self.faults:
            _log.warning("%s takes events again, after %d faults.", self.sink.name, self.faults)
        self.faults = 0
        self._observe(False)
        return None
