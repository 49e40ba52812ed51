"""The ranking loss as the authors' release of variational distillation (Tian et al., CVPR 2021) computes it."""

from __future__ import annotations

import torch
from torch import Tensor

_NO_DIVISION_BY_ZERO = 1e-5


def released_ranking_loss(
    distances: Tensor, positives: Tensor, negatives: Tensor, *, boundary: float, margin: float
) -> Tensor:
    """The ranking loss of `(..., N, M)` distances, averaged over the N anchors, `(...)`, cf. `metric.ranking_loss`.

    The pull is averaged over all positives of an anchor, violating or not, so it fades as they come closer; and
    the gradient also flows through the weights of negatives. An anchor without a pair of a kind adds 0 for that kind.

    Args:
        distances: `(..., N, M)`.
        positives, negatives: `(N, M)` bool masks of the pairs that count.
    """
    pull = (distances - (boundary - margin)).clamp_min(0) * positives
    weights = torch.exp(boundary - distances) * (negatives & (distances < boundary))
    pulls = pull.sum(-1) / (positives.sum(-1) + _NO_DIVISION_BY_ZERO)
    pushes = (weights * (boundary - distances)).sum(-1) / (weights.sum(-1) + _NO_DIVISION_BY_ZERO)
    return (pulls + pushes).mean(-1)
