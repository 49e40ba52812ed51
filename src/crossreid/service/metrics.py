"""Metrics for Prometheus: how many requests, how long they take, what is refused. Nothing names a person or a key.

Workers of one service keep their figures in files of a folder; whichever is scraped adds up all of them, including those of
workers that have ended. prometheus_client does that if the environment names the folder before it is imported.
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
    """The metrics of one service, in their own registry; with `folder`, added up with those of other workers.

    Args:
        entries: counts the entries of the gallery, at each scrape.
    """

    def __init__(self, entries: Callable[[], float] = lambda: 0.0, folder: Path | None = None) -> None:
        assert folder is None or os.environ.get("PROMETHEUS_MULTIPROC_DIR") == str(folder), "see the module's docstring"
        self._folder, self._entries = folder, _Entries(entries)
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "crossreid_requests_total", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "crossreid_request_seconds", "Seconds from the last byte of a request to its answer.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "crossreid_requests_in_flight", "Requests being served.", registry=self.registry, multiprocess_mode="livesum"
        )  # fmt: skip
        self.batches = Histogram(
            "crossreid_batch_images",
            "Images per forward pass.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.searches = Histogram(
            "crossreid_search_queries", "Queries compared per search.", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip
        self.expired = Counter(
            "crossreid_expired_entries_total", "Entries deleted by retention.", registry=self.registry
        )
        self.compacted = Gauge(
            "crossreid_compacted_timestamp_seconds", "When what deleted entries left was last removed.",
            registry=self.registry, multiprocess_mode="max",
        )  # fmt: skip
        self.housekeeping_failures = Counter(
            "crossreid_housekeeping_failures_total",
            "Rounds of retention that failed.",
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
    """The number of entries: a figure of the gallery, the same at every worker."""

    def __init__(self, count: Callable[[], float]) -> None:
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("crossreid_gallery_entries", "Entries of the gallery.", self._count())
