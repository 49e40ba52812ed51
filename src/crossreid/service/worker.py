"""One of several processes that serve a gallery on one port: `workers` starts them, and restarts those that end."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.service.startup import Serving

READY, FAILED = "ready", "failed"


def work(serving: Serving, number: int, count: int, listening: socket.socket, parent: Connection) -> None:
    """Serve until stopped, or until the parent is gone. Sends it `(READY, lines)`, or `(FAILED, message)` and exits."""
    os.setsid()  # the parent handles Ctrl-C and stops the workers
    # Before anything imports prometheus_client, which reads it then.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(serving.options.state / "metrics")
    try:
        _serve(_part_of(serving, count), number, count, listening, parent)
    except CrossreidError as error:
        parent.send((FAILED, str(error)))
        os._exit(2)  # client threads that were never closed hold nothing that matters


def _part_of(serving: Serving, count: int) -> Serving:
    """The service with its share of the machine's cores."""
    options = serving.options
    return replace(serving, options=options.model_copy(update={"decoders": -(-options.decoders // count)}))


def _serve(serving: Serving, number: int, count: int, listening: socket.socket, parent: Connection) -> None:
    import torch

    from crossreid.service.application import create_app
    from crossreid.service.http_server import server
    from crossreid.service.siblings import SharingSiblings
    from crossreid.service.startup import described, known_keys, opened_service

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    options = serving.options
    service = opened_service(serving, SharingSiblings(options.state, options.in_flight, number, count))
    lines = described(serving, service)
    running = server(
        create_app(service, known_keys(serving)), serving.endpoint, options, workers=count,
        started=lambda: parent.send((READY, lines)),
    )  # fmt: skip
    threading.Thread(target=_end_with, args=(parent, running), name="parent", daemon=True).start()
    try:
        running.run(sockets=[listening])
    finally:
        service.close()


def _end_with(parent: Connection, running: Any) -> None:
    """Stop serving when the parent is gone: nobody else would stop this process."""
    try:
        while True:
            parent.recv()
    except (EOFError, OSError):
        running.should_exit = True
