"""The supervised contrastive loss, which recipes can add to a method's own losses."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.weighing import register_loss


@register_loss("supervised_contrastive")
def supervised_contrastive(
    features: Tensor, labels: Tensor, *, temperature: Annotated[float, Field(gt=0)] = 0.1
) -> Tensor:
    """Khosla et al., "Supervised contrastive learning", NeurIPS 2020, L_out, averaged over anchors that have a positive.

    Args:
        features: `(B, D)`, normalised here; labels: `(B,)` int64.
    """
    unit = F.normalize(features.float(), dim=1)
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    scores = (unit @ unit.T / temperature).masked_fill(~other, -torch.inf)
    log_p = (scores - scores.logsumexp(1, keepdim=True)).masked_fill(~other, 0.0)
    positives = (labels[:, None] == labels[None, :]) & other
    count = positives.sum(1)
    each = -(log_p * positives).sum(1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)
