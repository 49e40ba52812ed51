"""An exported model in ONNX Runtime. What it does to an image, and whose it is, travels in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossreid.search.model import Preprocessing, SearchModel

KEY = "crossreid"
FORMAT = "crossreid-onnx-1"


class OnnxModel(SearchModel):
    """A file that `crossreid export` wrote.

    Raises:
        ValueError: no such file, none that ONNX Runtime can read, or one without the metadata that `export` writes.
    """

    runtime = "onnx"

    def __init__(self, path: Path, device: torch.device) -> None:
        self.source, self.precision = path, "float32"
        self._session = _session(path, device)
        on_gpu = self._session.get_providers()[0].startswith("CUDA")
        self.device = device if on_gpu else torch.device("cpu")
        facts = read_facts(self._session.get_modelmeta().custom_metadata_map, path)
        self.preprocessing = Preprocessing.from_json(facts["preprocessing"], path)
        self.method, self.fingerprint = str(facts["method"]), str(facts["fingerprint"])
        self.dimension, self.flip = int(facts["dimension"]), bool(facts["flip"])

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


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"{path}: ONNX Runtime is not installed. Install it: pip install 'crossreid[export]'."
        ) from error
    if not path.is_file():
        raise ValueError(f"{path} not found. Expected a file that `crossreid export` wrote.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    available = set(onnxruntime.get_available_providers())
    providers = [*(name for name in wanted if name in available), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be opened by ONNX Runtime ({reason}). Export it again.") from error


def read_facts(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """What `crossreid export` wrote into a file's metadata.

    Raises:
        ValueError: none of it is there, so that nobody knows what to do to an image before this network; or not all of it.
    """
    if KEY not in metadata:
        raise ValueError(
            f"{path} does not say what is to be done to an image before it (metadata {KEY!r} is missing). Expected a file "
            "that `crossreid export` wrote; of another tool's file the preprocessing would be a guess."
        )
    try:
        facts = json.loads(metadata[KEY])
        missing = {"format", "method", "fingerprint", "dimension", "flip", "preprocessing"} - facts.keys()
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{path}: its metadata {KEY!r} is damaged. Export it again.") from error
    if missing or facts["format"] != FORMAT:
        raise ValueError(
            f"{path}: its metadata {KEY!r} is of another version ({facts.get('format')!r}, missing: "
            f"{', '.join(sorted(missing)) or 'nothing'}). Expected {FORMAT!r}; export it again."
        )
    found: dict[str, Any] = facts
    return found
