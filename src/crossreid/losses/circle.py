"""Circle loss of pairs: each similarity is pushed towards its optimum, more strongly the farther away it is.

Source: Sun et al., "Circle loss: a unified perspective of pair similarity optimization", CVPR 2020, equations 4 to 9,
with pairs of a batch. The form with learned class weights is omitted.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.pairs import cosines, mean_over, pair_masks
from crossreid.losses.weighing import register_loss


@register_loss("circle")
def circle_loss(
    features: Tensor,
    labels: Tensor,
    *,
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.25,
    scale: Annotated[float, Field(gt=0)] = 128.0,
) -> Tensor:
    """The mean, over the anchors that have a positive and a negative, of

        log(1 + sum over negatives of exp(scale a_n (s_n - margin))
              * sum over positives of exp(-scale a_p (s_p - 1 + margin))),
        a_n = max(s_n + margin, 0),  a_p = max(1 + margin - s_p, 0),

    where s are cosines and the weights a are constants to the gradient. The defaults are the paper's for person re-ID.

    Args:
        features: `(B, D)`, normalised here; labels: `(B,)` int64.
        margin: m; scale: gamma.
    """
    similarity = cosines(features, features)
    positives, negatives = pair_masks(labels)
    near, far = similarity.detach() + margin, 1 + margin - similarity.detach()
    valid = positives.any(1) & negatives.any(1)
    terms = torch.zeros_like(similarity[:, 0])
    for pairs, logits in (
        (negatives, scale * near.clamp_min(0) * (similarity - margin)),
        (positives, -scale * far.clamp_min(0) * (similarity - 1 + margin)),
    ):
        # A row without pairs would give the logarithm of an empty sum, minus infinity; it is replaced to keep the
        # gradient finite.
        logits = torch.where(valid[:, None], logits.masked_fill(~pairs, -torch.inf), 0.0)
        terms = terms + logits.logsumexp(1)
    return mean_over(F.softplus(terms), valid)
