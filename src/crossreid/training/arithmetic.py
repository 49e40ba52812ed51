"""How the device computes while a run trains: precision of float32 products, autotuned convolutions, memory layout.

It changes results only by rounding. torch's process-wide settings are restored after the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from crossreid.training.options import TrainingOptions

# torch's names of these precisions for cuDNN, which has TF32, and for oneDNN, which on some CPUs also bf16.
_OF_CUDNN = {"highest": "ieee", "high": "tf32", "medium": "tf32"}
_OF_ONEDNN = {"highest": "ieee", "high": "tf32", "medium": "bf16"}


@contextlib.contextmanager
def arithmetic_of(options: TrainingOptions, device: torch.device) -> Iterator[None]:
    """Within the block, compute as the options say, and on CUDA with the fastest convolutions for the given shapes.

    They are found by trial, so another run may choose others; not if torch is set to be deterministic.
    """
    settings: list[tuple[Any, str, Any]] = []
    products = torch.get_float32_matmul_precision()
    same_bits = torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda" and not same_bits:  # all batches of a run have one shape
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
    """Store convolution weights channels last, as fast kernels need them; feature maps follow the weights."""
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def laid_out(batch: Any) -> Any:
    """A batch whose `images`, `(B, 3, H, W)` or sets `(B, N, 3, H, W)`, are channels last; other batches unchanged."""
    images = getattr(batch, "images", None)
    if not isinstance(images, torch.Tensor) or images.ndim not in (4, 5) or not hasattr(batch, "_replace"):
        return batch
    single = images if images.ndim == 4 else images.flatten(0, 1)
    single = single.contiguous(memory_format=torch.channels_last)
    return batch._replace(images=single if images.ndim == 4 else single.unflatten(0, images.shape[:2]))
