"""Critics of mutual-information estimators."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Scores T(v_i, z_j) of all pairs of two batches: `(N, V)`, `(M, Z)` to `(N, M)`.

    An MLP over the concatenated pair. Its first layer is a sum of one part for v and one for z, so scoring all pairs
    takes N + M products with wide inputs instead of N M. Scores are softly bounded by +-limit nats, because estimators
    take their exponential.
    """

    def __init__(self, v_width: int, z_width: int, hidden: int = 256, limit: float = 20.0) -> None:
        super().__init__()
        self.limit = limit
        self.of_v = nn.Linear(v_width, hidden)
        self.of_z = nn.Linear(z_width, hidden, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, v: Tensor, z: Tensor) -> Tensor:
        raw = self.rest(self.of_v(v)[:, None, :] + self.of_z(z)[None, :, :]).squeeze(2).float()
        return self.limit * torch.tanh(raw / self.limit)
