"""A run's network as ONNX, without facts."""

from __future__ import annotations

from pathlib import Path

import torch

from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported_file import INPUTS, OUTPUTS
from crossreid.inference.exporting.tracing import traceable

OPSET = 18


def write_onnx(model: TorchModel, path: Path, batch: int | None) -> None:
    """Write the network to `path`, for batches of `batch` images, or of any size if None."""
    import onnx

    names = [*INPUTS, *OUTPUTS]
    with traceable(model, batch) as (network, images, modalities):
        torch.onnx.export(
            network,
            (images, modalities),
            str(path),
            input_names=[*INPUTS],
            output_names=[*OUTPUTS],
            dynamic_axes=None if batch else {name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter refuses data-dependent mask sizes, which methods may have
        )
    written = onnx.load(str(path))
    if len(written.graph.input) == 1:  # the exporter drops unused inputs, but callers pass them
        unused = onnx.helper.make_tensor_value_info("modalities", onnx.TensorProto.INT64, [batch or "batch"])
        written.graph.input.append(unused)
    for output in written.graph.output:  # the exporter fails to infer it, for example for window attention
        output.type.tensor_type.shape.dim[1].dim_value = model.dimension
    onnx.checker.check_model(written)
    path.write_bytes(written.SerializeToString())
