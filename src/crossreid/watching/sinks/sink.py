"""Protocols for the receivers and the source of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event


class SinkFault(CrossreidError):
    """A sink did not accept events; they are kept and sent again later. The message says why.

    wait: seconds after which the sink asked to be retried, None if it did not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Sink(Protocol):
    """Accepts events in the order of their numbers. The state records its progress under `name`."""

    name: str

    def send(self, events: Sequence[Event]) -> None:
        """Send events; when this returns, the sink has them. Raises `SinkFault` if it may have none or only some."""

    def close(self) -> None: ...


class Outbox(Protocol):
    """The stored events and the progress of each sink: the state of a watch. Safe to use from any thread."""

    def events(self, after: int = 0, limit: int = 1000) -> list[Event]:
        """The first `limit` events with a number above `after`, in order."""

    def undelivered(self, sink: str, limit: int = 1000) -> list[Event]:
        """The first `limit` events with a number above the last that the sink has, in order."""

    def delivered(self, sink: str, number: int) -> None:
        """Record that a sink has all events up to this number."""
