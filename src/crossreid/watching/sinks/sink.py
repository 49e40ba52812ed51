"""What takes events, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event


class SinkFault(CrossreidError):
    """Events could not be given to a sink now; they are kept, and given again later. The message says why.

    wait: seconds after which the sink asked to be tried again, None where it did not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Sink(Protocol):
    """Takes events, in the order of their numbers. `name` is the one by which the state knows how far it has come."""

    name: str

    def send(self, events: Sequence[Event]) -> None:
        """Give events to the sink: when this returns, it has them. Raises `SinkFault` where it may have none or only some."""

    def close(self) -> None: ...


class Outbox(Protocol):
    """The events that are kept, and how far each sink has come: the state of a watch. Safe to use from any thread."""

    def events(self, after: int = 0, limit: int = 1000) -> list[Event]:
        """The first `limit` events with a number above `after`, in order."""

    def undelivered(self, sink: str, limit: int = 1000) -> list[Event]:
        """The first `limit` events with a number above the last that the sink has, in order."""

    def delivered(self, sink: str, number: int) -> None:
        """Keep that a sink has all events up to this number."""
