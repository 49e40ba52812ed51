"""How the device computes while a run trains: precision of float32 products, convolutions chosen by trial, memory layout.

None of it changes what is computed but for rounding. What torch keeps for the whole process is put back after the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from crossreid.training.options import TrainingOptions

# What torch calls these precisions for cuDNN, which knows TF32, and for oneDNN, which on some CPUs knows bf16 too.
_OF_CUDNN = {"highest": "ieee", "high": "tf32", "medium": "tf32"}
_OF_ONEDNN = {"highest": "ieee", "high": "tf32", "medium": "bf16"}


@contextlib.contextmanager
def arithmetic_of(options: TrainingOptions, device: torch.device) -> Iterator[None]:
    """In the block, compute as the options say, and on CUDA by those convolutions that are fastest for the shapes at hand.

    They are tried out, so another run may choose others; not where torch was told to be deterministic.
    """
    settings: list[tuple[Any, str, Any]] = []
    products = torch.get_float32_matmul_precision()
    same_bits = torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda" and not same_bits:  # a run's batches are all of one shape
        settings.append((torch.backends.cudnn, "benchmark", True))
    if (wanted := options.matmul_precision) is not None:
        backends = torch.backends
        settings += [(part, "fp32_precision", _OF_CUDNN[wanted]) for part in (backends.cudnn.conv, backends.cudnn.rnn)]  # type: ignore[attr-defined]
        settings.append((backends.mkldnn.conv, "fp32_precision", _OF_ONEDNN[wanted]))  # type: ignore[attr-defined]
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        if wanted is not None:
            torch.set_float32_matmul_precision(wanted)
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)
        if wanted is not None:
            torch.set_float32_matmul_precision(products)


def lay_out(method: nn.Module) -> None:
    """Lay the weights of convolutions out with channels last, as fast ones want them; feature maps follow the weights."""
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def laid_out(batch: Any) -> Any:
    """A batch whose `images`, `(B, 3, H, W)` or sets `(B, N, 3, H, W)`, have their channels last; others as they are."""
    images = getattr(batch, "images", None)
    if not isinstance(images, torch.Tensor) or images.ndim not in (4, 5) or not hasattr(batch, "_replace"):
        return batch
    single = images if images.ndim == 4 else images.flatten(0, 1)
    single = single.contiguous(memory_format=torch.channels_last)
    return batch._replace(images=single if images.ndim == 4 else single.unflatten(0, images.shape[:2]))
