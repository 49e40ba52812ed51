"""Common parts of losses of pairs: which pairs of a batch are of one identity, and cosines in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative pairs of labels `(B,)`, each a `(B, B)` bool mask; without pairs (i, i)."""
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """`(A, D)`, `(B, D)` to cosines `(A, B)`, in float32 or wider, even under autocast."""
    wide = torch.promote_types(a.dtype, torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.to(wide), dim=1) @ F.normalize(b.to(wide), dim=1).T


def mean_over(terms: Tensor, counted: Tensor) -> Tensor:
    """The mean of the terms `(B,)` that are `counted` `(B,)`; 0 if none is."""
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp_min(1)
