"""Metrics of a watch for Prometheus, on their own HTTP port. They name cameras and sinks, never people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.watching.events import Event

HOST = "127.0.0.1"


class WatchMetrics:
    """The metrics of one watch, in their own registry, counted from the start of the process.

    Raises `CrossreidError` if prometheus_client is not installed.
    """

    def __init__(self) -> None:
        needed("prometheus_client", "--metrics")
        from prometheus_client import CollectorRegistry, Counter, Gauge

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"crossreid_watch_{name}_total", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Any:
            return Gauge(f"crossreid_watch_{name}", text, labels, registry=self.registry)

        self.registry = CollectorRegistry()
        self.decoded = counter("frames_decoded", "Frames decoded.", "camera")
        self.dropped = counter("frames_dropped", "Frames dropped because processing was behind.", "camera")
        self.tracks = counter("tracks", "Tracks started.", "camera")
        self.events = counter("events", "Events.", "kind")
        self.identities = gauge("identities", "Identities, merged ones counted once.")
        self.queued = gauge("queued_frames", "Frames waiting.", "camera")
        self.behind = gauge("behind_seconds", "Age of the current frame of a stream in seconds.", "camera")
        self.faults = counter("sink_faults", "Failed attempts to send events to a sink.", "sink")
        self.failing = gauge("sink_failing", "1 while a sink accepts no events.", "sink")
        self._server: Any = None

    def note_events(self, events: Sequence[Event]) -> None:
        """Count new events."""
        for event in events:
            self.events.labels(event.kind).inc()

    def note_delivery(self, sink: str, fault: bool) -> None:
        """Count an attempt to send events to a sink."""
        if fault:
            self.faults.labels(sink).inc()
        self.failing.labels(sink).set(fault)

    def serve(self, port: int) -> int:
        """Serve `GET /metrics` to this machine until `close`; returns the port, any free one for 0.

        Raises:
            CrossreidError: the port cannot be listened on.
        """
        from prometheus_client import start_http_server

        try:
            self._server, _ = start_http_server(port, HOST, self.registry)
        except OSError as error:
            raise CrossreidError(
                f"--metrics {port}: {HOST}:{port} cannot be listened on ({error.strerror})."
            ) from error
        return int(self._server.server_port)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None
