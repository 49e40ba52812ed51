"""HTTP/1.1 by uvicorn, with an end to a client's patience: who does not finish the head of a request in time gets 408.

uvicorn waits for the first head of a connection for as long as the client likes, and thousands of silent connections cost
a client nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def with_deadline(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which closes a connection whose head has not come `seconds` after it began."""

    class Deadline(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, self._refuse)

        def data_received(self, data: bytes) -> None:
            begun = self.conn.their_state is h11.IDLE
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._forget()
            elif begun and self._late is None and not self.transport.is_closing():
                self._late = self.loop.call_later(seconds, self._refuse)  # of a further request

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _refuse(self) -> None:
            self._late = None
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
