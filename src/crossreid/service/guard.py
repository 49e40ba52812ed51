"""Checks before any of a request is trusted: who sends it, how often, how large, how slowly, and from which page.

Plain ASGI around the application, because the key must be checked before a body is read, and a body must have arrived,
whole and in time, before anything waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from crossreid.service.audit import Audit
from crossreid.service.configuration import ServiceOptions
from crossreid.service.endpoint import is_loopback
from crossreid.service.keys import ROLES, Key, Keys
from crossreid.service.metrics import Metrics
from crossreid.service.refusals import FAULT, Refusal, answer
from crossreid.service.request_body import IncomingBody, Receive, replayed
from crossreid.service.siblings import Siblings
from crossreid.service.turns import asker

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("crossreid.service")

ANYONE = Key("insecure", ROLES, "", "")
_OPEN = ("/", "/watch", "/openapi.json", "/v1/health")
_LINGER = 2.0  # seconds for which a refused client's remaining bytes are discarded, so that it reads the refusal
_WRONG_KEYS = (0.2, 10)  # per second, at once: per address
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
)


class Guard:
    """The application behind its checks. `keys` None serves anyone on this machine's own pages."""

    def __init__(
        self, app: Any, options: ServiceOptions, keys: Keys | None, audit: Audit, metrics: Metrics, siblings: Siblings
    ) -> None:
        self.app, self.options, self.keys, self.audit, self.metrics = app, options, keys, audit, metrics
        self._buckets, self._shares = siblings.buckets, siblings.shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["state"]["request"] = uuid.uuid4().hex
        scope["state"]["address"] = (scope.get("client") or ("unknown", 0))[0]
        began = time.monotonic()
        status, started = 500, False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                request = scope["state"]["request"].encode()
                message["headers"] = [*message.get("headers", ()), *_HEADERS, (b"x-request-id", request)]
            await send(message)

        incoming = IncomingBody(receive)
        try:
            try:
                if self._is_open(scope):
                    await self.app(scope, receive, sending)  # reads no body, so waits for none
                    return
                self._admit(scope)
                with self._slot(scope["state"]["key"]):
                    limits = self.options.max_bytes, self.options.seconds
                    body = await incoming.all(Headers(scope=scope), *limits)
                    began = time.monotonic()
                    await self.app(scope, replayed(body, receive), sending)
            except Refusal as refusal:
                await self._refuse(refusal, scope, incoming, sending)
            except Exception as error:
                # Once an answer has begun, the application has answered 500 and logged the reason.
                if not started:
                    _log.error("%s %s", scope["method"], scope["path"], exc_info=error)
                    await answer(500, FAULT)(scope, incoming.receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(_known(scope["method"]), route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - began)

    @contextlib.contextmanager
    def _slot(self, key: Key) -> Iterator[None]:
        """One of the requests served at a time. Raises `Refusal` if there are too many, or too many of this key."""
        with self._shares.place(key.name, administers="admin" in key.roles, alone=self.keys is None) as found:
            if not found:
                raise Refusal(
                    429,
                    "the service is busy, or busy with this key's requests; try again in a second.",
                    {"Retry-After": "1"},
                )
            with self.metrics.in_flight.track_inprogress():
                yield

    def _is_open(self, scope: Scope) -> bool:
        """Whether a path needs no key. Raises `Refusal` if the client may not have even that."""
        if self.keys is None:
            self._refuse_other_pages(Headers(scope=scope))
        path = scope["path"]
        return path in _OPEN or path.startswith("/page/")

    def _admit(self, scope: Scope) -> None:
        """Identify the client, as `scope["state"]["key"]`. Raises `Refusal`."""
        key = ANYONE if self.keys is None else self._key_of(Headers(scope=scope), scope["state"]["address"])
        scope["state"]["key"] = key
        asker.set(key.name)
        if self.options.rate:
            reads = scope["method"] in ("GET", "HEAD")
            rate = self.options.rate * (10 if reads else 1)
            wait = self._buckets.wait(f"{'reads' if reads else 'asks'} {key.name}", rate, max(1.0, 2 * rate))
            if wait:
                raise _slower(wait, f"{rate:g} requests of this kind a second")

    def _key_of(self, headers: Headers, address: str) -> Key:
        assert self.keys is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise _unknown(
                "expected the header `Authorization: Bearer KEY`. Ask the operator of the service for a key."
            )
        key = self.keys.find(given.strip())
        if key is not None:
            return key
        # Checked after valid keys, so that clients that share an address with a guesser are still served.
        wait = self._buckets.wait(f"wrong {address}", *_WRONG_KEYS)
        if wait:
            raise _slower(wait, f"{_WRONG_KEYS[1]} wrong keys")
        self.audit.write("unknown key", {"address": address})
        raise _unknown("the key is unknown, or has expired. Ask the operator of the service for another.")

    @staticmethod
    def _refuse_other_pages(headers: Headers) -> None:
        """Without keys, a page of another site open in the same browser must not act in its user's name."""
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not is_loopback(name.strip("[]").lower()):
            raise Refusal(403, f"host {host[:100]!r}: without keys the service answers to localhost only.")
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != host
        ):
            raise Refusal(403, "without keys the service answers to its own page only; start it with --keys.")

    async def _refuse(self, refusal: Refusal, scope: Scope, incoming: IncomingBody, send: Send) -> None:
        # Otherwise a client that is still sending would see its connection reset and never read the reason.
        with contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(_LINGER):
                while not incoming.ended and refusal.status != 408:
                    await incoming.part()
        headers = {**(refusal.headers or {}), "Connection": "close"}
        response: Response = answer(refusal.status, refusal.message, headers)
        await response(scope, incoming.receive, send)


def _unknown(message: str) -> Refusal:
    return Refusal(401, message, {"WWW-Authenticate": "Bearer"})


def _slower(wait: float, allowed: str) -> Refusal:
    seconds = max(1, round(wait + 0.5))
    return Refusal(429, f"more than {allowed}; try again in {seconds} s.", {"Retry-After": str(seconds)})


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
