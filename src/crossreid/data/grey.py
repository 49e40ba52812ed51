"""The grey version of a normalised batch, made on the device that holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from crossreid.data.transforms import LUMA, MEAN, STD


def grey_version(images: Tensor) -> Tensor:
    """`(B, 3, H, W)` normalised by MEAN and STD to its luma in all three channels, normalised the same way."""
    mean = torch.tensor(MEAN, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    grey = ((images * std + mean) * luma).sum(1, keepdim=True)
    return (grey - mean) / std
