"""Figures of a watch for Prometheus, at an HTTP port of their own. Cameras and sinks are named, people never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.watching.events import Event

HOST = "127.0.0.1"


class WatchMetrics:
    """The figures of one watch, in a registry of its own, counted from the beginning of the process.

    Raises `CrossreidError` where prometheus_client is not installed.
    """

    def __init__(self) -> None:
        needed("prometheus_client", "--metrics")
        from prometheus_client import CollectorRegistry, Counter, Gauge

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"crossreid_watch_{name}_total", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Any:
            return Gauge(f"crossreid_watch_{name}", text, labels, registry=self.registry)

        self.registry = CollectorRegistry()
        self.decoded = counter("frames_decoded", "Frames that were decoded.", "camera")
        self.dropped = counter("frames_dropped", "Frames that were dropped, as the network was behind.", "camera")
        self.tracks = counter("tracks", "Tracks that have begun.", "camera")
        self.events = counter("events", "Events.", "kind")
        self.identities = gauge("identities", "Identities there are, merged ones counted once.")
        self.queued = gauge("queued_frames", "Frames that wait.", "camera")
        self.behind = gauge("behind_seconds", "How old the frame in hand is, of a stream.", "camera")
        self.faults = counter("sink_faults", "Tries to give events to a sink that failed.", "sink")
        self.failing = gauge("sink_failing", "1 while a sink takes no events.", "sink")
        self._server: Any = None

    def note_events(self, events: Sequence[Event]) -> None:
        """Events that came about."""
        for event in events:
            self.events.labels(event.kind).inc()

    def note_delivery(self, sink: str, fault: bool) -> None:
        """A try to give events to a sink."""
        if fault:
            self.faults.labels(sink).inc()
        self.failing.labels(sink).set(fault)

    def serve(self, port: int) -> int:
        """Answer `GET /metrics` to this machine until `close`; the port, which is any free one for 0.

        Raises:
            CrossreidError: it cannot be listened at.
        """
        from prometheus_client import start_http_server

        try:
            self._server, _ = start_http_server(port, HOST, self.registry)
        except OSError as error:
            raise CrossreidError(
                f"--metrics {port}: {HOST}:{port} cannot be listened at ({error.strerror})."
            ) from error
        return int(self._server.server_port)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None
