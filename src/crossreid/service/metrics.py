"""What Prometheus reads: how much is asked, how long it takes, what is refused. Nothing that names a person or a key.

Workers of one service keep their figures in files of a folder, and whichever is asked adds up all of them, also those of workers
that are gone. prometheus_client does that in a process whose environment names the folder before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of one service, in a registry of their own; with `folder`, added up with those of other workers.

    Args:
        entries: counts the entries of the gallery, when somebody asks.
    """

    def __init__(self, entries: Callable[[], float] = lambda: 0.0, folder: Path | None = None) -> None:
        assert folder is None or os.environ.get("PROMETHEUS_MULTIPROC_DIR") == str(folder), "see the module's docstring"
        self._folder, self._entries = folder, _Entries(entries)
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "crossreid_requests_total", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "crossreid_request_seconds", "From the last byte of a request to its answer.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "crossreid_requests_in_flight", "Requests being served.", registry=self.registry, multiprocess_mode="livesum"
        )  # fmt: skip
        self.batches = Histogram(
            "crossreid_batch_images",
            "Images of a forward pass.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.searches = Histogram(
            "crossreid_search_queries", "Queries that were compared at once.", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip
        self.expired = Counter("crossreid_expired_entries_total", "Deleted by retention.", registry=self.registry)
        self.compacted = Gauge(
            "crossreid_compacted_timestamp_seconds", "When what deleted entries left was last removed.",
            registry=self.registry, multiprocess_mode="max",
        )  # fmt: skip
        self.housekeeping_failures = Counter(
            "crossreid_housekeeping_failures_total",
            "Rounds of retention that ended in an error.",
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The exposition format, text version 0.0.4."""
        if self._folder is None:
            return generate_latest(self.registry) + generate_latest(self._entries)
        every = CollectorRegistry()
        MultiProcessCollector(every, str(self._folder))
        return generate_latest(every) + generate_latest(self._entries)


class _Entries(Collector):
    """How many entries there are: a figure of the gallery, whichever worker is asked."""

    def __init__(self, count: Callable[[], float]) -> None:
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("crossreid_gallery_entries", "Entries of the gallery.", self._count())
