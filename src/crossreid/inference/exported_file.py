"""An exported ONNX file: its inputs and outputs, and what its metadata say of the model and of how images are prepared.

The metadata's entry `crossreid` is JSON: format, fingerprint, method, dimension, flip, preprocessing, version,
graph, the digest of all else in the file; `trained`, how far the run was, where it was not finished; `start`, the run or file
that it started from, where `start_from` named one; `calibration`, where the run has one; and facts, the digest of the entry itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError

KEY = "crossreid"
FORMAT = "crossreid-onnx-1"
INPUTS = {"images": "tensor(float)", "modalities": "tensor(int64)"}
OUTPUTS = ("embeddings", "features")
# What the metadata say, and as what.
_KINDS = {"method": str, "fingerprint": str, "graph": str, "dimension": int, "flip": bool, "preprocessing": dict}
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_METADATA_PROPS = 14  # in onnx.proto's ModelProto


def is_exported(path: Path) -> bool:
    """Whether a path is that of an exported file, by its name, and not of a run."""
    return path.suffix.lower() == ".onnx"


def read_facts(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """What `crossreid export` wrote into a file's metadata.

    Raises:
        CrossreidError: the entry is missing, so that nobody knows what to do to an image before this network; or it is
            damaged, incomplete or of another version.
    """
    if KEY not in metadata:
        raise CrossreidError(
            f"{path} does not say what is to be done to an image before it (metadata {KEY!r} is missing). Expected a file "
            "that `crossreid export` wrote; of another tool's file the preprocessing would be a guess."
        )
    try:
        facts = json.loads(metadata[KEY])
        missing = {"format", *_KINDS} - facts.keys()
    except (json.JSONDecodeError, AttributeError, RecursionError) as error:
        raise CrossreidError(f"{path}: its metadata {KEY!r} is damaged. Export it again.") from error
    if missing or facts["format"] != FORMAT:
        raise CrossreidError(
            f"{path}: its metadata {KEY!r} is of another version ({facts.get('format')!r}, missing: "
            f"{', '.join(sorted(missing)) or 'nothing'}). Expected {FORMAT!r}; export it again."
        )
    wrong = [name for name, kind in _KINDS.items() if type(facts[name]) is not kind]
    if not wrong and not _FINGERPRINT.fullmatch(facts["fingerprint"]):
        wrong = ["fingerprint"]
    if wrong:
        raise CrossreidError(
            f"{path}: its metadata {KEY!r} is damaged: {wrong[0]} is {str(facts[wrong[0]])[:80]!r}. Export it again."
        )
    found: dict[str, Any] = facts
    return found


def facts_digest(facts: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of what the entry says, but for this digest."""
    said = {key: value for key, value in facts.items() if key != "facts"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def graph_digest(content: bytes) -> str:
    """SHA-256, hexadecimal, of an ONNX file's bytes but for its metadata.

    The bytes are taken as they are, since a parser may write them differently. The file is a protobuf message: its
    outermost fields, each a number and a kind, then its value, are hashed in order, less those of `metadata_props`.
    """
    digest, view, position = hashlib.sha256(), memoryview(content), 0
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
            digest.update(view[start:position])
    return digest.hexdigest()


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
