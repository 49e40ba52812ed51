"""What Prometheus reads: how much is asked, how long it takes, what is refused. Nothing that names a person or a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "crossreid_requests_total", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "crossreid_request_seconds", "From the last byte of a request to its answer.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge("crossreid_requests_in_flight", "Requests being served.", registry=self.registry)
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
        self.entries = Gauge("crossreid_gallery_entries", "Entries of the gallery.", registry=self.registry)
        self.expired = Counter("crossreid_expired_entries_total", "Deleted by retention.", registry=self.registry)
        self.compacted = Gauge(
            "crossreid_compacted_timestamp_seconds", "When what deleted entries left was last removed.",
            registry=self.registry,
        )  # fmt: skip
        self.housekeeping_failures = Counter(
            "crossreid_housekeeping_failures_total",
            "Rounds of retention that ended in an error.",
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The exposition format, text version 0.0.4."""
        return generate_latest(self.registry)
