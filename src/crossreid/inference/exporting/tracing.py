"""A network as exporters trace it: whole, at one image size, without gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.fixed_size import fixed_size
from crossreid.inference.exporting.modality_branches import exportable
from crossreid.models.lora import merged


@contextmanager
def traceable(model: TorchModel, batch: int | None) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """Yield the network `(images, modalities) -> (embeddings, features)`, and random inputs to trace it with.

    The inputs are images `(B, 3, H, W)` and modalities `(B,)`; B is `batch`, or 2 if that is None, for any batch size.
    Trace within the block.
    """
    seen, count = model.preprocessing, batch or 2
    images = torch.randn(count, 3, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    modalities = torch.arange(count) % 2
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about values fixed while tracing: here modality and size, on purpose
        network = exportable(merged(model.network), images, modalities, flip=model.flip)
        with fixed_size(network, images, modalities):
            yield network, images, modalities
