"""Inputs and outputs of an exported file, as stated in the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.inference.exporting.exported import Target


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor of a file: `dtype` is NumPy's name; `shape` has -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def tensors_of(file: Path, target: Target) -> tuple[list[FileTensor], list[FileTensor]]:
    """Return the inputs and outputs of an ONNX file or an OpenVINO model.

    Raises:
        CrossreidError: the file is of another target.
    """
    if target == "onnx":
        return _of_onnx(file)
    if target == "openvino":
        return _of_openvino(file)
    raise CrossreidError(f"{file}: expected an ONNX file or an OpenVINO model; found one of --to {target}.")


def opset_of(file: Path) -> int:
    """Return the opset of an ONNX file."""
    import onnx

    return next(int(each.version) for each in onnx.load(str(file)).opset_import if each.domain in ("", "ai.onnx"))


def _of_onnx(file: Path) -> tuple[list[FileTensor], list[FileTensor]]:
    import onnx

    graph = onnx.load(str(file)).graph

    def read(value: onnx.ValueInfoProto) -> FileTensor:
        kind = value.type.tensor_type
        shape = tuple(each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim)
        return FileTensor(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)

    return [read(value) for value in graph.input], [read(value) for value in graph.output]


def _of_openvino(file: Path) -> tuple[list[FileTensor], list[FileTensor]]:
    openvino = needed("openvino", "reading an OpenVINO model")
    model = openvino.Core().read_model(file)

    def read(value: Any) -> FileTensor:
        shape = tuple(-1 if each.is_dynamic else each.get_length() for each in value.get_partial_shape())
        return FileTensor(value.get_any_name(), str(value.get_element_type().to_dtype()), shape)

    return [read(value) for value in model.inputs], [read(value) for value in model.outputs]
