"""A run's network as a torch.export program, without facts."""

from __future__ import annotations

from pathlib import Path

import torch

from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.tracing import traceable


def write_program(model: TorchModel, path: Path, batch: int | None) -> None:
    """Write the network to `path`, for batches of `batch` images, or of any size if None."""
    rows = None if batch else {0: torch.export.Dim("batch", min=1)}
    with traceable(model, batch) as (network, images, modalities):
        program = torch.export.export(network, (images, modalities), dynamic_shapes=None if batch else (rows, rows))
        torch.export.save(program, path)
