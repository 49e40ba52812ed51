"""A command that serves, as long as it takes to see that it answers."""

import contextlib
import signal
import socket
import time
from pathlib import Path

import httpx

from forked import Forked, command
from served import PLAIN


def serve_briefly(arguments):
    """Start what serves, see that it answers, and stop it as Ctrl-C does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Forked(command, *arguments, "--port", port, log="serve.log")
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                assert PLAIN.get(f"http://127.0.0.1:{port}/v1/stats").json()["entries"] > 0
                break
            time.sleep(0.1)
        else:
            raise AssertionError(Path("serve.log").read_text())
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
