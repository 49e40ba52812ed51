"""Losses of an identity's centres in both modalities: pulled together, or compared with those of other identities.

Sources: Zhu et al., "Hetero-center loss for cross-modality person re-identification", Neurocomputing 2020, and Liu et
al., "Parameter sharing exploration and hetero-center triplet loss for visible-thermal person re-identification", TMM
2020.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.metric import euclidean_distances
from crossreid.losses.pairs import mean_over
from crossreid.losses.weighing import register_loss


@register_loss("hetero_centre")
def hetero_centre_loss(features: Tensor, labels: Tensor, modalities: Tensor) -> Tensor:
    """The sum over identities of ||c_visible - c_infrared||^2, where c are means of features in the batch (equation 4).

    A sum, as published, so that a published weight means the same. An identity in only one modality adds nothing.

    Args:
        features: `(B, D)`, not normalised; labels, modalities: `(B,)` int64.
    """
    own, other, both, first = _centres(features, labels, modalities)
    # Each identity occurs twice among the first rows, once from each modality.
    apart = (own - other).square().sum(1)
    return torch.where(both & first, apart, 0.0).sum() / 2


@register_loss("hetero_centre_triplet")
def hetero_centre_triplet_loss(
    features: Tensor, labels: Tensor, modalities: Tensor, *, margin: Annotated[float, Field(ge=0)] = 0.3
) -> Tensor:
    """Batch-hard triplet loss of centres: the mean, over the centres of identities with both modalities, of

        max(0, margin + ||c - c'|| - the least ||c - n||),

    where c' is the centre of the same identity in the other modality and n any centre of another identity (equations 9
    and 10, which sum; their release uses the mean, as here). It needs two identities.

    Args:
        features: `(B, D)`, not normalised; labels, modalities: `(B,)` int64.
        margin: the paper's rho; 0.3 is its choice.
    """
    own, other, both, first = _centres(features, labels, modalities)
    foreign = labels[:, None] != labels[None, :]
    nearest = euclidean_distances(own, own).detach().masked_fill(~foreign, torch.inf).argmin(1)
    positive, negative = (
        (own - compared).square().sum(1).clamp_min(1e-12).sqrt() for compared in (other, own[nearest])
    )
    return mean_over(F.relu(margin + positive - negative), both & first & foreign.any(1))


def _centres(features: Tensor, labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The centre of each sample's identity in its own and in the other modality, `(B, D)` float32 or wider.

    And `(B,)` whether both exist, and whether the sample is the first of its identity and modality, which represents
    the centre.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    same = labels[:, None] == labels[None, :]
    kind = modalities[:, None] == modalities[None, :]
    own, other = same & kind, same & ~kind
    with torch.autocast(features.device.type, enabled=False):
        centres = [
            pairs.to(features.dtype) @ features / pairs.sum(1, keepdim=True).clamp_min(1) for pairs in (own, other)
        ]
    first = own.to(torch.uint8).argmax(1) == torch.arange(len(labels), device=labels.device)
    return centres[0], centres[1], other.any(1), first
