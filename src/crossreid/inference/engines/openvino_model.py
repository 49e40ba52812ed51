"""An exported network in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.engines.exported_model import ExportedModel, Signature, arrays
from crossreid.inference.engines.openvino_runtime import leave_telemetry_out
from crossreid.inference.exporting.openvino_file import read_said

_TYPES = {"f32": "float32", "i64": "int64"}
_HINTS = {"bf16": "bf16"}  # all others are the file's own precision, with float32 between its layers


class OpenVinoModel(ExportedModel):
    """A file that `crossreid export --to openvino` wrote, with its .bin.

    It computes with `torch.get_num_threads()` threads, all on one batch. bf16 is available for a float32 file if the
    processor supports it.

    Raises:
        CrossreidError: no such files, OpenVINO cannot read them or is not installed, they lack what `export` writes, or
            the graph is not the one described.
    """

    runtime = "openvino"

    def __init__(self, path: Path) -> None:
        leave_telemetry_out()
        openvino = needed("openvino", str(path))
        said, graph = read_said(path)
        self.device = torch.device("cpu")
        self._take(path, said, graph)
        self._core = openvino.Core()
        try:
            self._network = self._core.read_model(path)
            signatures = [_signature(ports) for ports in (self._network.inputs, self._network.outputs)]
        except Exception as error:  # RuntimeError from OpenVINO itself, other types for damaged files
            raise CrossreidError(f"{path} cannot be opened by OpenVINO ({_reason(error)}). Export it again.") from error
        self._confirm(*signatures)
        if self.precision == "float32" and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            self.precisions = ("float32", "bf16")
        self._compile()

    def with_precision(self, precision: Precision) -> EmbeddingModel:
        before = self.precision
        super().with_precision(precision)
        if self.precision != before:
            self._compile()
        return self

    def _compile(self) -> None:
        """Compile once for batches of any size."""
        compiled = self._core.compile_model(
            self._network, "CPU", {
                "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": _HINTS.get(self.precision, "f32"),
            },
        )  # fmt: skip
        self._request = compiled.create_infer_request()

    def _compute(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        self._request.infer(arrays(images, modalities), share_inputs=True)
        return torch.from_numpy(self._request.get_tensor(output).data.copy())


def _signature(ports: Iterable[Any]) -> Signature:
    return {
        port.get_any_name(): (
            _TYPES.get(port.get_element_type().get_type_name(), port.get_element_type().get_type_name()),
            [None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()],
        )
        for port in ports
    }


def _reason(error: Exception) -> str:
    """Return the last non-empty line: the first ones of OpenVINO's errors are locations in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
