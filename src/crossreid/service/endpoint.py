"""Where the service listens: address, port, certificate, and the proxy that may speak for its clients."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossreid.errors import CrossreidError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address and port to listen at; certificate and key for HTTPS; the proxy whose forwarded addresses are trusted."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    certificate_key: Path | None = None
    proxy: str | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_taken(endpoint: Endpoint) -> None:
    """Raise `CrossreidError` if the address cannot be listened on: before a model is loaded, with a clear message."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((endpoint.host, endpoint.port))
    except OSError as error:
        raise CrossreidError(
            f"{endpoint.host}:{endpoint.port} cannot be listened on ({error.strerror}); choose another --port."
        ) from error
    except (TypeError, ValueError) as error:  # not a host name: a part of it is empty or too long, or contains a NUL
        raise CrossreidError(f"--host {endpoint.host!r}: expected an address or a name of this machine.") from error


@contextlib.contextmanager
def listening_at(endpoint: Endpoint) -> Iterator[socket.socket]:
    """A socket bound to the address, shared by several processes. Raises as `refuse_taken`."""
    refuse_taken(endpoint)
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio listens
        try:
            listening.bind((endpoint.host, endpoint.port))
        except OSError as error:  # taken just now
            raise CrossreidError(
                f"{endpoint.host}:{endpoint.port} cannot be listened on ({error.strerror}); choose another --port."
            ) from error
        yield listening
