"""Read only parts of a safetensors file or object: metadata, shapes, some of its tensors."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from crossreid.data.addresses import Address, Place
from crossreid.data.object_storage import BLOCK, read

_FIRST = 64 << 10  # bytes of an object requested first: everything in a chunk but its embeddings
_LONGEST = 100 << 20  # of a header, as in safetensors
_TYPES = {"F32": "<f4", "I64": "<i8"}  # what `crossreid embed` writes


class Stored(NamedTuple):
    """What was read: the metadata, the shape of every tensor, and the requested tensors."""

    about: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    tensors: dict[str, np.ndarray]


def read_stored(place: Place, names: Collection[str] = ()) -> Stored:
    """Read the metadata and shapes of a safetensors file or object, and the tensors of these names.

    Raises:
        SafetensorError: it is not such a file, is truncated, or lacks a tensor.
        OSError, CrossreidError: it cannot be read.
    """
    if isinstance(place, Address):
        return _read_object(place, names)
    place.open("rb").close()  # safe_open says "no such file" for one without read permission
    with safe_open(place, framework="np") as stored:
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        return Stored(stored.metadata() or {}, shapes, {name: stored.get_tensor(name) for name in names})


def _read_object(address: Address, names: Collection[str]) -> Stored:
    begun = read(address.text, 0, _FIRST)
    length = int.from_bytes(begun[:8], "little")
    if len(begun) < 8 or length > _LONGEST:
        raise SafetensorError("its header is invalid")
    if 8 + length > len(begun):
        begun += read(address.text, len(begun), 8 + length)
    try:
        header: dict[str, Any] = json.loads(begun[8 : 8 + length])
        about = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
        tensors = {name: _tensor(address, header[name], begun, 8 + length) for name in names}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"its header is invalid ({error})") from error
    return Stored(about, shapes, tensors)


def _tensor(address: Address, entry: dict[str, Any], begun: bytes, start: int) -> np.ndarray:
    """Read a tensor, block by block into its own memory; what was read already is not read again."""
    first, end = (start + int(offset) for offset in entry["data_offsets"])
    found = np.empty(tuple(entry["shape"]), dtype=_TYPES[entry["dtype"]])
    if found.nbytes != end - first:
        raise SafetensorError("a tensor's length does not match its shape")
    into = memoryview(found.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    done = first
    while done < end:
        block = begun[done:end] if done < len(begun) else read(address.text, done, min(end, done + BLOCK))
        if not block:
            raise SafetensorError("it is truncated")
        into[done - first : done - first + len(block)] = block
        done += len(block)
    return found
