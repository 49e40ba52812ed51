"""The body of a request: read part by part, whole and in time, before anything waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from crossreid.service.refusals import Refusal

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_MOST_JSON = 262_144  # bytes of a body without images: parsing it delays everyone


class IncomingBody:
    """A request's body, part by part."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.ended = receive, False

    async def part(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.ended = True
            raise Refusal(400, "the connection ended before the request did.")
        self.ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def all(self, headers: Headers, most: int, seconds: float) -> bytes:
        """All of it, at most so many bytes. Raises `Refusal` if it is longer or does not arrive in time."""
        too_large = Refusal(413, f"expected a request of at most {most:,} bytes; send fewer or smaller images.")
        if not headers.get("content-type", "").lower().startswith("multipart/form-data"):
            most = min(most, _MOST_JSON)
            too_large = Refusal(413, f"expected a body without images of at most {most:,} bytes; send less at a time.")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large
        parts: list[bytes] = []
        total = 0
        try:
            async with asyncio.timeout(seconds):
                while not self.ended:
                    parts.append(await self.part())
                    total += len(parts[-1])
                    if total > most:
                        raise too_large
        except TimeoutError as error:
            raise Refusal(408, f"the request did not come within {seconds:g} seconds; send it faster.") from error
        return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body that has already arrived, then the server's messages."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
