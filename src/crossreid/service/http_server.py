"""HTTP/1.1 by uvicorn, with limits on its patience: a client that does not finish a request's head in time gets 408, one that
does not take an answer is disconnected, and connections beyond the limit are told to retry.

Ambiguous requests, which two programs could read differently, are refused (`strict_http`).

uvicorn waits as long as the client likes for the first head of a connection, for a body that nobody reads, and for an answer to
be taken; and thousands of silent connections cost a client nothing. Its refusals are text, these are JSON.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossreid.errors import CrossreidError
from crossreid.service.configuration import ServiceOptions
from crossreid.service.endpoint import Endpoint
from crossreid.service.refusals import answer
from crossreid.service.strict_http import StrictConnection

GRACE = 10  # seconds for running requests when the service stops
_WAITING = 2048  # connections not accepted yet
_FLUSH = 5.0  # seconds a closing connection has to send what is still buffered


def server(
    app: Any,
    endpoint: Endpoint,
    options: ServiceOptions,
    *,
    workers: int = 1,
    started: Callable[[], object] = lambda: None,
) -> uvicorn.Server:
    """uvicorn, ready to run. Raises `CrossreidError` if the certificate or its key cannot be read.

    Args:
        workers: processes that accept connections on one socket; each gets its share of the allowed connections.
        started: called once connections are accepted.
    """
    protocol = with_deadline(options.seconds, options.answer_seconds, connections=-(-8 * options.in_flight // workers))
    config = uvicorn.Config(
        app, host=endpoint.host, port=endpoint.port, http=protocol, ws="none", lifespan="on", log_level="error", access_log=False,
        server_header=False, timeout_keep_alive=int(max(1, options.seconds)), proxy_headers=endpoint.proxy is not None,
        forwarded_allow_ips=endpoint.proxy, h11_max_incomplete_event_size=32_768,
        ssl_certfile=endpoint.certificate, ssl_keyfile=endpoint.certificate_key, timeout_graceful_shutdown=GRACE,
        # Of connections that arrive together a process accepts one, then does other work: other processes take the next.
        backlog=1 if workers > 1 else _WAITING,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise CrossreidError(
            f"{endpoint.certificate}, {endpoint.certificate_key}: not a certificate and its key ({error})."
        ) from error
    return _Server(config, started)


class _Server(uvicorn.Server):
    """uvicorn that reports when it accepts connections."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_WAITING)  # which uvicorn has set to its backlog
        if self.started:
            self._on_start()


def with_deadline(seconds: float, answer_seconds: float, connections: int) -> type[H11Protocol]:
    """uvicorn's protocol with limits: at most so many connections; clients send a head within `seconds` and a body, where the
    application reads none, within twice that; and they take what is sent to them within `answer_seconds`."""

    class Deadline(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _taking: asyncio.TimerHandle | None = None
        _watched: Any = None  # the part of a request that the timer runs for

        def __init__(self, config: uvicorn.Config, *arguments: Any, **named: Any) -> None:
            super().__init__(config, *arguments, **named)
            self.conn = StrictConnection(h11.SERVER, config.h11_max_incomplete_event_size or 32_768)

        def connection_made(self, transport: Any) -> None:
            self._ending = _Ending(transport, self.loop)
            super().connection_made(self._ending)  # type: ignore[arg-type]
            if len(self.connections) > connections:
                self.app = _busy
            self._watch(h11.IDLE)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch(self.conn.their_state)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch(None)
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taking = self.loop.call_later(answer_seconds, self._ending.cut)

        def resume_writing(self) -> None:
            if self._taking is not None:
                self._taking.cancel()
            super().resume_writing()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
                self._watch(None)  # between two requests uvicorn's own timer runs

        def send_400_response(self, msg: str) -> None:
            self._answer(400, "this is not an HTTP/1.1 request.")

        def _watch(self, what: Any) -> None:
            if what is self._watched:
                return
            self._watched = what
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if what is h11.IDLE:
                self._timer = self.loop.call_later(seconds, self._refuse)
            elif what is h11.SEND_BODY:
                self._timer = self.loop.call_later(2 * seconds, self.transport.close)

        def _refuse(self) -> None:
            if not self.transport.is_closing() and self.conn.our_state is h11.IDLE:
                self._answer(408, f"the head of the request did not come within {seconds:g} seconds.")

        def _answer(self, status: int, message: str) -> None:
            """Refuse what has not become a request and close; if an answer has begun, only close."""
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.close()
                return
            response = answer(status, message, {"Connection": "close"})
            reason = HTTPStatus(status).phrase.encode()
            head = h11.Response(status_code=status, headers=response.raw_headers, reason=reason)
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Deadline


class _Ending:
    """A transport that ends some seconds after it was closed, whether or not the client has taken everything."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(_FLUSH, self.cut)

    def cut(self) -> None:
        """Abort it now."""
        connection = self._transport.get_extra_info("socket")
        if (
            connection is not None and connection.fileno() >= 0
        ):  # otherwise the system would keep offering what was not taken
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    """Takes the place of the application on connections beyond the limit."""
    headers = {"Retry-After": "1", "Connection": "close"}
    await answer(429, "too many connections are open; try again in a second.", headers)(scope, receive, send)
