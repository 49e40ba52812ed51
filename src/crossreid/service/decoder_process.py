"""A process that decodes what strangers sent, and nothing else: `decoders` starts it, and ends it where it takes too long.

What libraries written in C do with hostile bytes then happens here: to spin, to take memory, to crash, to fill a log with
what they say of broken files. It knows neither keys nor the gallery. Requests and answers are a line of JSON and bytes, and
no pickles: nothing that comes from here is believed to be more than pixels.
"""

from __future__ import annotations

import io
import json
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.deadline import Overrun, deadline
from crossreid.data.images import ImageTooLarge, NotAnImage, decode
from crossreid.data.records import DataError

READY = b"ready"
# Beyond what the process has when it starts: for each pixel that may be decoded, what a few copies of it take, and the rest.
_BYTES_A_PIXEL, _BYTES = 64, 512 << 20


def serve(descriptor: int) -> None:
    """Answer what comes over an open connection until the other side closes it."""
    connection = Connection(descriptor)
    taken = _address_space()
    connection.send_bytes(READY)
    while True:
        try:
            asked = json.loads(connection.recv_bytes())
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        if taken is not None:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            bound = taken + _BYTES + _BYTES_A_PIXEL * asked["most"]
            resource.setrlimit(
                resource.RLIMIT_AS, (bound if most == resource.RLIM_INFINITY else min(bound, most), most)
            )
        told, pixels = decoded(content, asked)
        connection.send_bytes(json.dumps(told).encode())
        if pixels is not None:
            connection.send_bytes(np.ascontiguousarray(pixels).data.cast("B"))


def decoded(content: bytes, asked: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """What is told of a file, `{"shape"}` or `{"kind", "message"}`, and its pixels `(H, W, 3)`."""
    name, most, formats = asked["name"], asked["most"], tuple(asked["formats"])
    at_least = None if asked["at_least"] is None else tuple(asked["at_least"])
    levels = tuple(levels) if isinstance(levels := asked.get("levels"), list) else levels
    try:
        with deadline(asked["seconds"]):
            pixels = decode(io.BytesIO(content), name, at_least=at_least, most=most, formats=formats, levels=levels)
    except Overrun:
        return {"kind": "large", "message": f"{name} takes more than {asked['seconds']:g} seconds to decode."}, None
    except ImageTooLarge as error:
        return {"kind": "large", "message": str(error)}, None
    except NotAnImage as error:
        return {"kind": "none", "message": str(error)}, None
    except DataError as error:
        return {"kind": "damaged", "message": str(error)}, None
    return {"shape": pixels.shape}, pixels


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system does not say them."""
    try:
        told = Path("/proc/self/statm").read_text(encoding="ascii")
    except OSError:
        return None
    return int(told.split()[0]) * resource.getpagesize()
