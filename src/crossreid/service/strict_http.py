"""HTTP/1.1 without anything that two programs in a chain could read differently, which is how requests are smuggled.

h11 accepts, as RFC 9112 allows, lines that end in a bare LF, header fields folded over several lines, and a length beside a
transfer coding, of which it trusts the coding. A proxy in front of the service may have trusted the other. All of these are
refused (RFC 9112, sections 2.2, 5.2 and 6.1 allow or require it), and so are trailers, which nothing here reads.
"""

from __future__ import annotations

import re
from typing import Any

import h11

_END = re.compile(rb"\n\r?\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_FOLDED = re.compile(rb"\n[ \t]")


class StrictConnection(h11.Connection):
    """A connection that accepts unambiguous requests only. `next_event` raises `h11.RemoteProtocolError` for others."""

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            self._refuse_ambiguous()
        event = super().next_event()
        if isinstance(event, h11.EndOfMessage) and event.headers:
            raise h11.RemoteProtocolError("trailers are not accepted")
        return event

    def _refuse_ambiguous(self) -> None:
        """Check the head of a request before it is parsed, once all of it is there."""
        received, _ = self.trailing_data
        start = 2 if received.startswith(b"\r\n") else 0  # an empty line before a request is skipped
        end = _END.search(received, start)
        head = received[start : end.end()] if end else b""
        if not head:
            return
        if _BARE.search(head) or _FOLDED.search(head):
            raise h11.RemoteProtocolError("a line of the head ends in a bare LF or CR, or is folded")
        first, *lines = head.split(b"\r\n")
        names = [line.partition(b":")[0].strip().lower() for line in lines]
        coded = b"transfer-encoding" in names
        if coded and (
            b"content-length" in names or names.count(b"transfer-encoding") > 1 or not first.endswith(b"/1.1")
        ):
            raise h11.RemoteProtocolError(
                "the length of the body is given in two ways, or in one that HTTP/1.0 does not have"
            )
