"""An exported network in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration_files import from_json
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exported_file import INPUTS, KEY, OUTPUTS, facts_digest, graph_digest, read_facts
from crossreid.runs.preprocessing import Preprocessing


class OnnxModel(EmbeddingModel):
    """A file that `crossreid export` wrote.

    Raises:
        CrossreidError: no such file, ONNX Runtime cannot read it, it lacks the metadata that `export` writes, or its
            graph is not the one that they describe.
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
        self.trained = str(facts.get("trained", ""))
        if graph_digest(content) != facts["graph"]:
            raise CrossreidError(
                f"{path} is damaged or was changed: its graph is not the one that was exported. Export it again."
            )
        _refuse_other_shapes(self._session, self.preprocessing, self.dimension, path)
        if facts.get("facts") not in (None, facts_digest(facts)):  # files of before have no digest of them
            raise CrossreidError(
                f"{path} is damaged or was changed: what its metadata say is not what was exported. Export it again."
            )
        if "calibration" in facts:
            self.calibration = from_json(facts["calibration"], path)

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


def _refuse_other_shapes(session: Any, preprocessing: Preprocessing, dimension: int, path: Path) -> None:
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
    stated = {"images": [3, preprocessing.height, preprocessing.width]} | {name: [dimension] for name in OUTPUTS}
    for name, shape in stated.items():
        own = list((given | found)[name].shape[1:])
        if own != shape:
            raise CrossreidError(
                f"{path}: its metadata {KEY!r} says {name} (B, {', '.join(map(str, shape))}), its graph (B, "
                f"{', '.join(map(str, own))}). Export it again."
            )
