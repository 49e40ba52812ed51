"""Pooling of feature maps to one vector per image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def generalised_mean(maps: Tensor, p: Tensor | float, *, floor: float = 1e-6) -> Tensor:
    """GeM: `(B, C, h, w)` to `(B, C)`, (mean over positions of max(x, floor)^p)^(1/p), float32.

    Source: Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2019, equation 4. p = 1
    is the mean of max(x, floor), large p approaches the maximum.
    """
    # Powers overflow and underflow in half precision.
    with torch.autocast(maps.device.type, enabled=False):
        return maps.float().clamp_min(floor).pow(p).mean(dim=(2, 3)).pow(1 / p)


class ReleasedGeneralisedMean(nn.Module):
    """GeM with a fixed p as in AGW's release: (mean over positions of x^p + 1e-12)^(1/p), float32, no floor below x.

    It has no parameters and no state. A channel that is 0 everywhere gives 1e-12^(1/p), 1e-4 for p = 3, and no
    gradient.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            return (maps.float().pow(self.p).mean(dim=(2, 3)) + 1e-12).pow(1 / self.p)


class GeneralisedMean(nn.Module):
    """GeM pooling with a learned or a fixed p."""

    def __init__(self, p: float = 3.0, *, learn: bool = True) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(float(p)), requires_grad=learn)

    def forward(self, maps: Tensor) -> Tensor:
        return generalised_mean(maps, self.p)
