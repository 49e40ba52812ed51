"""An exported model in ONNX Runtime. What it does to an image, and whose it is, travels in the file's metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.inference.model import Preprocessing, SearchModel

KEY = "crossreid"
FORMAT = "crossreid-onnx-1"
INPUTS = {"images": "tensor(float)", "modalities": "tensor(int64)"}
OUTPUTS = ("embeddings", "features")
# What the metadata says, and as what.
_KINDS = {"method": str, "fingerprint": str, "graph": str, "dimension": int, "flip": bool, "preprocessing": dict}
_FINGERPRINT = re.compile("[0-9a-f]{64}")


class OnnxModel(SearchModel):
    """A file that `crossreid export` wrote.

    Raises:
        CrossreidError: no such file, none that ONNX Runtime can read, one without the metadata that `export` writes, or one whose
            graph is not the one that they are of.
    """

    runtime = "onnx"

    def __init__(self, path: Path, device: torch.device) -> None:
        self.source, self.precision = path, "float32"
        if not path.is_file():
            raise CrossreidError(f"{path} not found. Expected a file that `crossreid export` wrote.")
        content = path.read_bytes()
        self._session = _session(content, path, device)
        on_gpu = self._session.get_providers()[0].startswith("CUDA")
        self.device = device if on_gpu else torch.device("cpu")
        facts = read_facts(self._session.get_modelmeta().custom_metadata_map, path)
        self.preprocessing = Preprocessing.from_json(facts["preprocessing"], path)
        self.method, self.fingerprint = facts["method"], facts["fingerprint"]
        self.dimension, self.flip = facts["dimension"], facts["flip"]
        if graph_digest(content) != facts["graph"]:
            raise CrossreidError(
                f"{path} is damaged or was changed: its graph is not the one that was exported. Export it again."
            )
        _refuse_other_shapes(self._session, self.preprocessing, self.dimension, path)

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._run("embeddings", images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._run("features", images, modalities)

    def _run(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        given = {
            "images": np.ascontiguousarray(images.cpu().numpy(), dtype=np.float32),
            "modalities": modalities.cpu().numpy().astype(np.int64),
        }
        return torch.from_numpy(self._session.run([output], given)[0])


def _session(content: bytes, path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise CrossreidError(
            f"{path}: ONNX Runtime is not installed. Install it: pip install 'crossreid[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = providers_for(device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CrossreidError(f"{path} cannot be opened by ONNX Runtime ({reason}). Export it again.") from error


def providers_for(device: torch.device, available: Collection[str]) -> list[Any]:
    """What ONNX Runtime computes with: on a GPU that very one, as far as it can, and else the CPU."""
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in available
    return [
        *([("CUDAExecutionProvider", {"device_id": device.index or 0})] if on_gpu else []),
        "CPUExecutionProvider",
    ]


def graph_digest(content: bytes) -> str:
    """SHA-256, hexadecimal, of an ONNX file's bytes but for its metadata.

    The bytes as they are, which a parser would not give back with certainty: the outermost fields of the message, each a
    number and a kind, then its value, less those of `metadata_props`.
    """
    digest, view, place = hashlib.sha256(), memoryview(content), 0
    while place < len(view):
        start = place
        key, place = _varint(view, place)
        if key & 7 == 2:  # of a length that is told: texts and messages
            length, place = _varint(view, place)
            place += length
        elif key & 7 == 0:
            _, place = _varint(view, place)
        else:
            place += 8 if key & 7 == 1 else 4
        if key >> 3 != _METADATA_PROPS:
            digest.update(view[start:place])
    return digest.hexdigest()


_METADATA_PROPS = 14  # in onnx.proto's ModelProto


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(view):
        byte = view[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            break
    return value, place


def _refuse_other_shapes(session: Any, seen: Preprocessing, dimension: int, path: Path) -> None:
    """Raise `CrossreidError` where the graph takes or gives something else than the metadata say."""
    given = {entry.name: entry for entry in session.get_inputs()}
    found = {entry.name: entry for entry in session.get_outputs()}
    types = {name: entry.type for name, entry in given.items()}
    if types != INPUTS or not found.keys() >= set(OUTPUTS):
        raise CrossreidError(
            f"{path}: expected a graph with the inputs {', '.join(INPUTS)} and the outputs {', '.join(OUTPUTS)}; found "
            f"{', '.join(f'{name} {type}' for name, type in types.items()) or 'none'} and {', '.join(found) or 'none'}. "
            "Export it again."
        )
    told = {"images": [3, seen.height, seen.width]} | {name: [dimension] for name in OUTPUTS}
    for name, shape in told.items():
        own = list((given | found)[name].shape[1:])
        if own != shape:
            raise CrossreidError(
                f"{path}: its metadata {KEY!r} says {name} (B, {', '.join(map(str, shape))}), its graph (B, "
                f"{', '.join(map(str, own))}). Export it again."
            )


def read_facts(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """What `crossreid export` wrote into a file's metadata.

    Raises:
        CrossreidError: none of it is there, so that nobody knows what to do to an image before this network; or not all of it.
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
