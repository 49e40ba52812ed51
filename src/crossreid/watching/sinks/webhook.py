"""A webhook: events POSTed as a JSON array, signed if a secret is given.

Headers are those of Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and, with a secret,
`webhook-signature: v1,BASE64` of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, as checked by its libraries. `Idempotency-Key`
equals `webhook-id`, and is the same when the same events are resent. After a restart they may be batched differently:
receivers that must not act twice should drop events by their own `id`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.files import short_digest
from crossreid.watching.events import Event
from crossreid.watching.sinks.sink import SinkFault

SECRET, TOKEN = "CROSSREID_WEBHOOK_SECRET", "CROSSREID_WEBHOOK_TOKEN"
_PREFIX = "whsec_"


class Webhook:
    """Sends events to one address. Certificates are checked against the system's trusted ones or `SSL_CERT_FILE`.

    Args:
        url: `https://...`, or `http://...`; without a password in it.
        seconds: timeout for connecting, and again between any two parts of the answer.
        environment: where the secret (`CROSSREID_WEBHOOK_SECRET`, `whsec_` and base64, or any text) and a bearer token
            (`CROSSREID_WEBHOOK_TOKEN`) are looked up, as a command's arguments are visible to every user of the
            machine.

    Raises:
        CrossreidError: the address is invalid, the secret is not base64 after `whsec_`, or httpx is not installed.
    """

    def __init__(self, url: str, *, seconds: float = 10.0, environment: Mapping[str, str] = os.environ) -> None:
        httpx = needed("httpx", "a webhook")
        self.url = _checked(url)
        self.name = f"webhook {short_digest(url)}"  # each address must receive all events itself
        self._secret = _secret(environment.get(SECRET))
        headers = {"Content-Type": "application/json", "User-Agent": "crossreid"}
        if token := environment.get(TOKEN):
            headers["Authorization"] = f"Bearer {token}"
        # A redirected POST would lose its body, or send it to a host the operator did not name.
        self._client = httpx.Client(timeout=seconds, headers=headers, follow_redirects=False)

    def send(self, events: Sequence[Event]) -> None:
        """POST the events. Raises `SinkFault` for any answer other than 2xx, and for no answer."""
        import httpx

        body = ("[" + ",".join(event.to_json() for event in events) + "]").encode()
        id = batch_id(events)
        headers = {"Idempotency-Key": id, "webhook-id": id, "webhook-timestamp": str(int(time.time()))}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, id, headers["webhook-timestamp"], body)
        try:
            with self._client.stream("POST", self.url, content=body, headers=headers) as answer:
                status, after = answer.status_code, answer.headers.get("Retry-After", "")
        except (httpx.HTTPError, OSError) as error:
            raise SinkFault(f"{_host(self.url)} did not answer ({error or type(error).__name__}).") from error
        if not 200 <= status < 300:
            wait = float(after) if after.isascii() and after.isdecimal() else None
            raise SinkFault(f"{_host(self.url)} answered {status}.", wait)

    def close(self) -> None:
        self._client.close()


def batch_id(events: Sequence[Event]) -> str:
    """An id that is the same for the same events in the same order, and otherwise different."""
    return "events_" + hashlib.sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]


def signature(secret: bytes, id: str, timestamp: str, body: bytes) -> str:
    """`v1,BASE64`, as in Standard Webhooks."""
    digest = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _secret(text: str | None) -> bytes | None:
    if not text:
        return None
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise CrossreidError(f"{SECRET}: expected base64 after {_PREFIX}, or a text without that prefix.") from error


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port: Any = parts.port
    except ValueError as error:
        raise CrossreidError(f"webhook {url!r}: expected http(s)://HOST/PATH ({error}).") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise CrossreidError(f"webhook {url!r}: expected http(s)://HOST/PATH.")
    if parts.username or parts.password:
        raise CrossreidError(
            f"webhook of {parts.hostname}: expected no user or password in the address, where others can read them; put a token "
            f"into {TOKEN} in the environment."
        )
    return url


def _host(url: str) -> str:
    """The part of an address that may be logged; its path is often a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
