"""The grey version of a normalised batch, made on the device that holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from crossreid.data.transforms import LUMA, MEAN, STD

# As the releases write the luma: of four digits, and taken of normalised channels.
NORMALISED_LUMA = (0.2989, 0.5870, 0.1140)


def grey_version(images: Tensor) -> Tensor:
    """`(B, 3, H, W)` normalised by MEAN and STD to its luma in all three channels, normalised the same way."""
    mean = torch.tensor(MEAN, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    grey = ((images * std + mean) * luma).sum(1, keepdim=True)
    return (grey - mean) / std


def grey_of_normalised(images: Tensor) -> Tensor:
    """`(B, 3, H, W)` normalised to the luma of the normalised channels, three times, not normalised again.

    It is what a release makes that takes a tensor's luma after normalising: three equal channels, of another range
    than `grey_version` has, as the deviations of the colours differ. Constant to the gradient.
    """
    luma = torch.tensor(NORMALISED_LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images.detach() * luma).sum(1, keepdim=True).expand_as(images)
