"""An exported network in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.inference.engines.exported_model import ExportedModel, Signature, arrays
from crossreid.inference.engines.onnx_session import session_of
from crossreid.inference.exporting.exported_file import KEY
from crossreid.inference.exporting.onnx_file import graph_digest

_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


class OnnxModel(ExportedModel):
    """A file that `crossreid export --to onnx` wrote.

    Raises:
        CrossreidError: no such file, ONNX Runtime cannot read it, it lacks the metadata that `export` writes, or its
            graph is not the one they describe.
    """

    runtime = "onnx"

    def __init__(self, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise CrossreidError(f"{path} not found. Expected a file written by `crossreid export`.")
        content = path.read_bytes()
        self._session = session_of(
            content,
            path,
            device,
            lambda reason: CrossreidError(f"{path} cannot be opened by ONNX Runtime ({reason}). Export it again."),
        )
        on_gpu = self._session.get_providers()[0].startswith("CUDA")
        self.device = device if on_gpu else torch.device("cpu")
        said = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self._take(path, said, graph_digest(content))
        self._confirm(_signature(self._session.get_inputs()), _signature(self._session.get_outputs()))

    def _compute(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run([output], arrays(images, modalities))[0])


def _signature(entries: Iterable[Any]) -> Signature:
    return {
        entry.name: (
            _TYPES.get(entry.type, entry.type),
            [size if isinstance(size, int) else None for size in entry.shape],
        )
        for entry in entries
    }
