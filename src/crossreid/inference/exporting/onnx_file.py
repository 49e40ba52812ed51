"""ONNX files as bytes: the digest of the graph, and the facts appended to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossreid.inference.exporting.exported_file import KEY, text_of_facts

_METADATA_PROPS = 14  # in onnx.proto's ModelProto


def state_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts into a file, replacing existing ones."""
    import onnx

    graph = b"".join(_without_metadata(path.read_bytes()))
    metadata = onnx.ModelProto()
    said = text_of_facts(facts, hashlib.sha256(graph).hexdigest())
    onnx.helper.set_model_props(metadata, {KEY: said})
    # Concatenated protobuf messages merge into one, so the graph's bytes still match the digest.
    path.write_bytes(graph + metadata.SerializeToString())


def graph_digest(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of an ONNX file's bytes without its metadata."""
    digest = hashlib.sha256()
    for part in _without_metadata(content):
        digest.update(part)
    return digest.hexdigest()


def _without_metadata(content: bytes) -> list[memoryview]:
    """Return the original bytes without the metadata; they are not parsed, as serialising may change them.

    The file is a protobuf message. These are its outermost fields (each a number and a kind, then its value), in order,
    without those of `metadata_props`.
    """
    parts: list[memoryview] = []
    view, position = memoryview(content), 0
    while position < len(view):
        start = position
        key, position = _varint(view, position)
        if key & 7 == 2:  # texts and messages, with their length
            length, position = _varint(view, position)
            position += length
        elif key & 7 == 0:
            _, position = _varint(view, position)
        else:
            position += 8 if key & 7 == 1 else 4
        if key >> 3 != _METADATA_PROPS:
            parts.append(view[start:position])
    return parts


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the number that begins at `position`, seven bits per byte, and the position after it."""
    value = shift = 0
    while position < len(view):
        byte = view[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    return value, position
