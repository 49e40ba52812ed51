"""A process that decodes untrusted images and does nothing else: `decoders` starts it, and kills it when it is too slow.

Whatever C libraries do with hostile bytes happens here: spin, use up memory, crash, or fill a log with complaints about
broken files. It knows neither the keys nor the gallery. Requests and answers are a line of JSON plus bytes, never
pickles: nothing that comes from here is trusted to be more than pixels.
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
# Memory on top of what the process has when it starts: a few copies of each pixel that may be decoded, and the rest.
_BYTES_A_PIXEL, _BYTES = 64, 512 << 20


def serve(descriptor: int) -> None:
    """Answer requests on an open connection until the other side closes it."""
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
    """The answer for a file, `{"shape"}` or `{"kind", "message"}`, and its pixels `(H, W, 3)`."""
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
    """Bytes of this process's address space; None if the system does not report them."""
    try:
        told = Path("/proc/self/statm").read_text(encoding="ascii")
    except OSError:
        return None
    return int(told.split()[0]) * resource.getpagesize()
