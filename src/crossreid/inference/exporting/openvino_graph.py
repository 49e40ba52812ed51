"""A run's network as OpenVINO's intermediate representation, without facts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from crossreid.inference.engines.openvino_runtime import leave_telemetry_out
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported_file import INPUTS, OUTPUTS
from crossreid.inference.exporting.tracing import traceable


def write_openvino(model: TorchModel, path: Path, batch: int | None) -> None:
    """Write the network to `path` and its .bin in float32, for batches of `batch` images, or of any size if None."""
    leave_telemetry_out()
    import openvino

    with traceable(model, batch) as (network, images, modalities):
        for parameter in network.parameters():  # so that they can be constants
            parameter.requires_grad_(False)
        # In a traced function weights are constants. Reading them from a module layer by layer is five times slower.
        traced = torch.jit.trace(lambda *given: network(*given), (images, modalities), check_trace=False)
    rows = batch or -1
    shapes = {"images": [rows, *images.shape[1:]], "modalities": [rows]}
    with _logging_as_it_was():
        converted = openvino.convert_model(
            traced, example_input=(images, modalities), input=[openvino.PartialShape(shapes[name]) for name in INPUTS]
        )
    for position, name in enumerate(INPUTS):
        converted.inputs[position].get_tensor().set_names({name})
    for position, name in enumerate(OUTPUTS):
        converted.outputs[position].get_tensor().set_names({name})
    openvino.save_model(converted, str(path), compress_to_fp16=False)


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Restore the root logger: a failed conversion leaves it at errors only, and other warnings would be lost."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers
