"""Triplet losses as released: AGW's weighted regularised loss, and its successor CAJ's on squared differences.

Sources: the releases of Ye et al., "Deep learning for person re-identification: a survey and outlook", TPAMI 2021, and
of Ye et al., "Channel augmented joint learning for visible-infrared recognition", ICCV 2021. The paper's loss is
`crossreid.losses.metric.weighted_triplet_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.metric import euclidean_distances

# Added to the sum that a row's weights are divided by. CAJ limits exponents to MOST.
ADDED, MOST = 1e-6, 88.0


def released_weighted_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Mean over anchors of log(1 + exp(pos - neg)), pos and neg the weighted distances of `released_sides`.

    Args:
        features: `(B, D)`, not normalised, compared by Euclidean distance; labels: `(B,)` int64.
    """
    positive, negative = released_sides(features, labels)
    return F.softplus(positive - negative).mean()


def squared_difference_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Mean over anchors of log(1 + exp(+-x)), x = min((pos - neg)^2, 88): + if pos > neg, otherwise -.

    Args:
        as `released_weighted_triplet_loss`.
    """
    positive, negative = released_sides(features, labels)
    difference = positive - negative
    squared = difference.square().clamp_max(MOST)
    return F.softplus(torch.where(difference > 0, squared, -squared)).mean()


def released_sides(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted distances `(B,)` to each anchor's positives, which include the anchor itself, and to its negatives.

    Weights of a row are exp(e - m) / (sum of exp(e - m) + 1e-6), e = d over positives and -d over negatives, m the
    largest e of the row, with e = 0 for pairs that do not count. Over negatives m is therefore 0, so the weights sum to
    less than 1 if all are far.
    """
    features = features.float()
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    sides = []
    for pairs, scores in ((same, distances), (~same, -distances)):
        largest = (scores * pairs).amax(1, keepdim=True)
        # Pairs that do not count are removed before the exponential, which could be infinite for them.
        powers = torch.exp((scores - largest).masked_fill(~pairs, -torch.inf))
        weights = powers / (powers.sum(1, keepdim=True) + ADDED)
        sides.append((weights * distances).sum(1))
    return sides[0], sides[1]
