"""Attention on feature maps: parameter-free over channels, and the bottleneck attention module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Parameter-free channel attention: each channel of `(B, C, H, W)` scaled by the sigmoid of its standing.

    A channel's standing is its spatial mean, normalised over the channels of that image.
    """

    def forward(self, maps: Tensor) -> Tensor:
        energy = maps.mean(dim=(2, 3))
        standing = (energy - energy.mean(1, keepdim=True)) / (energy.std(1, keepdim=True, correction=0) + 1e-5)
        return maps * torch.sigmoid(standing)[:, :, None, None]


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
