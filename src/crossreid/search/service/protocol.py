"""HTTP/1.1 by uvicorn, with an end to its patience: who does not finish the head of a request in time gets 408.

uvicorn waits for the first head of a connection, and for a body that nobody reads, for as long as the client likes; and
thousands of silent connections cost a client nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def with_deadline(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, for clients that send a head within `seconds`, and within twice that a body, which is the limit of
    those bodies that the application does not read."""

    class Deadline(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _watched: Any = None  # what of a request the timer runs for

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch(h11.IDLE)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch(self.conn.their_state)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch(None)
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
                self._watch(None)  # between two requests it is uvicorn's own timer that runs

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
            if self.transport.is_closing() or self.conn.our_state is not h11.IDLE:
                return
            message = f"the head of the request did not come within {seconds:g} seconds."
            body = json.dumps({"error": {"code": "too_slow", "message": message}}).encode()
            headers = [
                ("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close"),
            ]  # fmt: skip
            response = h11.Response(status_code=408, headers=headers, reason=b"Request Timeout")
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Deadline
