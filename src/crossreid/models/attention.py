"""Attention on feature maps: the bottleneck attention module, and non-local blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BottleneckAttention(nn.Module):
    """The bottleneck attention module: maps F `(B, C, H, W)` to F + F sigmoid(M_c + M_s).

    M_c `(B, C, 1, 1)` says which channels matter, from their means through two layers; M_s `(B, 1, H, W)` says where,
    through two dilated 3 x 3 convolutions on C / reduction channels; both end in batch norm.

    Source: Park et al., "BAM: Bottleneck attention module", BMVC 2018, with its reduction of 16 and dilation of 4.
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )
        spatial: list[nn.Module] = [nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        for _ in range(2):
            around = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False)
            spatial += [around, nn.BatchNorm2d(inner), nn.ReLU()]
        self.spatial = nn.Sequential(*spatial, nn.Conv2d(inner, 1, 1, bias=False), nn.BatchNorm2d(1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * (1 + torch.sigmoid(self.channel(maps) + self.spatial(maps)))


class NonLocal(nn.Module):
    """A non-local block: maps x `(B, C, H, W)` to x + W(y), with y at each position the weighted mean of g(x) over all.

    The weight of a pair of positions is the dot product theta(x_i) . phi(x_j). theta, phi and g halve the channels, or
    have `width` channels if given. W ends in batch norm initialised to 0, so the block starts as the identity. With one
    channel, as in AGW's release, the weight of a pair is a product of two numbers.

    Source: Wang et al., "Non-local neural networks", CVPR 2018, sections 3.2 and 3.3; Ye et al. (AGW) place it.
    """

    def __init__(self, channels: int, *, width: int | None = None) -> None:
        super().__init__()
        inner = width or max(channels // 2, 1)
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        for parameter in self.out[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor) -> Tensor:
        theta, phi, g = (layer(maps).flatten(2) for layer in (self.theta, self.phi, self.g))
        # (theta^T phi) g = theta^T (phi g^T): the second product is width x width, not over all pairs of positions.
        together = g @ phi.transpose(1, 2) / theta.shape[2]
        return maps + self.out((together @ theta).unflatten(2, maps.shape[2:]))
