"""ONNX files as bytes: the digest of their graph, and the facts that are appended to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossreid.inference.exporting.exported_file import KEY, text_of_facts

_METADATA_PROPS = 14  # in onnx.proto's ModelProto


def state_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts into a file, in place of those that it has."""
    import onnx

    graph = b"".join(_without_metadata(path.read_bytes()))
    metadata = onnx.ModelProto()
    said = text_of_facts(facts, hashlib.sha256(graph).hexdigest())
    onnx.helper.set_model_props(metadata, {KEY: said})
    # Two messages one after the other are one with the fields of both; so the graph's bytes stay those of the digest.
    path.write_bytes(graph + metadata.SerializeToString())


def graph_digest(content: bytes) -> str:
    """SHA-256, hexadecimal, of an ONNX file's bytes but for its metadata."""
    digest = hashlib.sha256()
    for part in _without_metadata(content):
        digest.update(part)
    return digest.hexdigest()


def _without_metadata(content: bytes) -> list[memoryview]:
    """The bytes as they are, since a parser may write them differently, less the metadata.

    The file is a protobuf message: its outermost fields, each a number and a kind, then its value, in order, less those of
    `metadata_props`.
    """
    parts: list[memoryview] = []
    view, position = memoryview(content), 0
    while position < len(view):
        start = position
        key, position = _varint(view, position)
        if key & 7 == 2:  # texts and messages, whose length is given
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
    """The number that begins at `position`, seven bits a byte, and the position behind it."""
    value = shift = 0
    while position < len(view):
        byte = view[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    return value, position
