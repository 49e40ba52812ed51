"""All sinks of a watch: files in its folder, and any others requested."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from crossreid.watching.sinks.csv_lines import CsvLines
from crossreid.watching.sinks.delivery import Delivery, catch_up
from crossreid.watching.sinks.json_lines import JsonLines
from crossreid.watching.sinks.metrics import WatchMetrics
from crossreid.watching.sinks.mqtt import Mqtt
from crossreid.watching.sinks.sink import Outbox, Sink
from crossreid.watching.sinks.webhook import Webhook


class Outlets:
    """A watch folder's `events.jsonl` and `events.csv`, written at the start and by `flush`, and external sinks, each
    in its own thread.

    Args:
        folder: the folder of the watch.
        outbox: the state of the watch, open for writing.
        webhooks, brokers: addresses for `Webhook` and `Mqtt`.
        metrics: where events and sink faults are counted, if anywhere.

    Raises:
        CrossreidError: an invalid address, a library that is not installed, or a file that is not an event file.
    """

    def __init__(
        self,
        folder: Path,
        outbox: Outbox,
        *,
        webhooks: Sequence[str] = (),
        brokers: Sequence[str] = (),
        metrics: WatchMetrics | None = None,
    ) -> None:
        self._outbox, self.metrics = outbox, metrics
        outside: list[Sink] = [*map(Webhook, dict.fromkeys(webhooks)), *map(Mqtt, dict.fromkeys(brokers))]
        self._files = [JsonLines(folder / "events.jsonl"), CsvLines(folder / "events.csv")]
        self._deliveries = [
            Delivery(
                sink,
                outbox,
                observe=(lambda _: None) if metrics is None else partial(metrics.note_delivery, sink.name),
            )
            for sink in outside
        ]
        self.flush()  # writes what a killed watch had stored but not written
        for delivery in self._deliveries:
            delivery.start()

    @property
    def names(self) -> list[str]:
        """The names of the external sinks, under which the state records their progress."""
        return [delivery.sink.name for delivery in self._deliveries]

    def flush(self) -> None:
        """Write new events to the files, count them, and wake the other sinks. Call this after each committed step.

        Raises:
            SinkFault: a file could not be written. The next call writes what is missing.
        """
        for place, file in enumerate(self._files):
            for events in catch_up(file, self._outbox):
                if self.metrics is not None and place == 0:
                    self.metrics.note_events(events)
        for delivery in self._deliveries:
            delivery.wake()

    def close(self, seconds: float = 10.0) -> list[str]:
        """Write new events and stop; returns the external sinks that lack some; the next watch will send these.

        Raises:
            SinkFault: as `flush`; everything is closed nevertheless.
        """
        try:
            self.flush()
        finally:
            late = self._end(time.monotonic() + seconds)
        return late

    def _end(self, until: float) -> list[str]:
        for delivery in self._deliveries:
            delivery.end()
        late = [each.sink.name for each in self._deliveries if not each.ended(max(0.0, until - time.monotonic()))]
        for file in self._files:
            file.close()
        if self.metrics is not None:
            self.metrics.close()
        return late
