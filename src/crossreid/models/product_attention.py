"""Bottleneck attention as in the release of views knowledge distillation: a product where the paper has a sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ProductAttention(nn.Module):
    """Maps F `(B, C, H, W)` to F (1 + sigmoid(M_c M_s)), the two branches joined by their product.

    M_c `(B, C)` comes from the channels' means through two linear layers, M_s `(B, 1, H, W)` through two dilated 3 x 3
    convolutions on C / reduction channels. Batch norm follows the hidden layers only, every layer has a bias.

    Source: the release of Porrello et al., ECCV 2020; `BottleneckAttention` is the module of the BAM paper. Where M_s
    is 0 the product does not depend on M_c, so either branch can silence the other.
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.channel = nn.Sequential(
            nn.Linear(channels, inner), nn.BatchNorm1d(inner), nn.ReLU(), nn.Linear(inner, channels)
        )
        spatial: list[nn.Module] = [nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()]
        for _ in range(2):
            around = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation)
            spatial += [around, nn.BatchNorm2d(inner), nn.ReLU()]
        self.spatial = nn.Sequential(*spatial, nn.Conv2d(inner, 1, 1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if isinstance(layer, nn.Conv2d | nn.Linear):  # the weights of linear layers keep PyTorch's initialisation
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor) -> Tensor:
        channel = self.channel(maps.mean(dim=(2, 3)))[:, :, None, None]
        return maps * (1 + torch.sigmoid(channel * self.spatial(maps)))
