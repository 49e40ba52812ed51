"""Centre loss: each identity has a learned centre that attracts its features.

Source: Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016. The centres are
updated by the rule of equation 4, not by the optimiser, whose rate, moments and decay do not apply. Their
initialisation is not published; here it is the mean of the identity's features in the first batch that contains it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.losses.weighing import register_loss


@register_loss("centre")
class CentreLoss(nn.Module):
    """Half the batch mean of ||x - c||^2, c the centre of x's identity (equation 2, divided by B as released).

    In training the centres are then moved, c_j by rate * sum(x - c_j) / (1 + n_j) over the n_j features of identity j.

    Args:
        width: D; classes: training identities.
        rate: the paper's alpha.
    """

    centres: Tensor
    seen: Tensor

    def __init__(self, width: int, classes: int, *, rate: Annotated[float, Field(gt=0, le=1)] = 0.5) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("centres", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """`(B, D)`, not normalised, and `(B,)` int64, to a scalar."""
        features = features.float()
        counts = torch.zeros_like(self.centres[:, :1]).index_add_(0, labels, torch.ones_like(features[:, :1]))
        sums = torch.zeros_like(self.centres).index_add_(0, labels, features.detach())
        present = counts[:, 0] > 0
        fresh = (present & ~self.seen)[:, None]
        centres = torch.where(fresh, sums / counts.clamp_min(1), self.centres)
        loss = (features - centres[labels]).square().sum(1).mean() / 2
        if self.training:
            self.centres.copy_(centres + self.rate * (sums - counts * centres) / (1 + counts))
            self.seen.logical_or_(present)
        return loss
