"""Losses on distances between samples: modality-aware ranking, batch-hard triplets, weighted regularised triplets.

The ranking loss is the ranked list loss of Wang et al. (CVPR 2019, equations 3 to 8) taken once over pairs of the same
modality and once over pairs across modalities, each with its own boundary and margin: L_metric of Tian et al.,
"Farewell to Mutual Information", CVPR 2021. No function here loops over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crossreid.errors import CrossreidError
from crossreid.losses.weighing import register_loss


def euclidean_distances(a: Tensor, b: Tensor, *, floor: float = 1e-12) -> Tensor:
    """`(A, D)`, `(B, D)` to Euclidean distances `(A, B)`, float32; the gradient is finite at distance 0.

    `floor` is a lower limit of squared distances.
    """
    # Under autocast the product would be in half precision, where small distances are lost to cancellation.
    with torch.autocast(a.device.type, enabled=False):
        alone = a is b
        a = a.float()
        b = a if alone else b.float()
        of_a = a.square().sum(1)
        of_b = of_a if alone else b.square().sum(1)
        # Sums and product in one kernel: on a GPU, launches cost more than the computation.
        return torch.addmm(of_a[:, None] + of_b, a, b.T, alpha=-2).clamp_min(floor).sqrt()


def ranking_loss(distances: Tensor, positives: Tensor, negatives: Tensor, *, boundary: float, margin: float) -> Tensor:
    """The ranked list loss of `(..., N, M)` distances, averaged over the N anchors: `(...)`.

    A negative should lie beyond `boundary`, a positive within `boundary - margin`. For an anchor i,

        mean over violating positives of  d_ij - (boundary - margin)
        + sum over violating negatives of w_ij (boundary - d_ij) / sum of w_ij,   w_ij = exp(boundary - d_ij).

    The weights are constants to the gradient. An anchor without a violating pair of a kind adds 0 for that kind.

    Args:
        distances: `(..., N, M)`.
        positives, negatives: `(N, M)` bool masks of the pairs that count.
    """
    if margin <= 0 or boundary <= margin:
        raise CrossreidError(f"expected 0 < margin < boundary, found margin {margin} and boundary {boundary}.")
    far = (distances - (boundary - margin)).clamp_min(0) * positives
    near = (boundary - distances).clamp_min(0) * negatives
    count = ((far > 0).sum(-1)).clamp_min(1)
    weights = torch.exp((boundary - distances).detach()) * (near > 0)
    pull = far.sum(-1) / count
    push = (weights * near).sum(-1) / weights.sum(-1).clamp_min(torch.finfo(distances.dtype).tiny)
    return (pull + push).mean(-1)


@register_loss("modality_aware_ranking")
def modality_aware_ranking_loss(
    features: Tensor,
    labels: Tensor,
    modalities: Tensor,
    *,
    same: tuple[float, float] = (2.2, 0.9),
    across: tuple[float, float] = (2.0, 1.0),
    ranked: Callable[..., Tensor] = ranking_loss,
) -> Tensor:
    """Ranking loss of pairs within a modality plus that of pairs across modalities, on L2-normalised features.

    Args:
        features: `(B, D)`, normalised here.
        labels, modalities: `(B,)` int64.
        same, across: (boundary, margin) within and across modalities; distances are in [0, 2].
        ranked: the loss of either kind's distances: `ranking_loss`, or another with its signature.
    """
    return modality_aware_rankings([features], labels, modalities, same=same, across=across, ranked=ranked)[0]


def modality_aware_rankings(
    several: Sequence[Tensor],
    labels: Tensor,
    modalities: Tensor,
    *,
    same: tuple[float, float],
    across: tuple[float, float],
    ranked: Callable[..., Tensor] = ranking_loss,
) -> Tensor:
    """`modality_aware_ranking_loss` of all of `several` features `(B, D)` at once, `(len(several),)`; D may differ."""
    units = [F.normalize(features.float(), dim=1) for features in several]
    distances = torch.stack([euclidean_distances(unit, unit) for unit in units])
    same_label = labels[:, None] == labels[None, :]
    same_modality = modalities[:, None] == modalities[None, :]
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    of_kinds = [
        ranked(distances, pairs & same_label, pairs & ~same_label, boundary=boundary, margin=margin)
        for pairs, (boundary, margin) in ((same_modality & other, same), (~same_modality, across))
    ]
    return of_kinds[0] + of_kinds[1]


@register_loss("triplet")
def triplet_loss(
    features: Tensor, labels: Tensor, *, margin: float | None = None, own_positive: bool = False
) -> Tensor:
    """Batch-hard triplet loss (Hermans et al., 2017, equation 5), averaged over the anchors that have both kinds.

    Args:
        features: `(B, D)`, not normalised, compared by Euclidean distance; labels: `(B,)` int64.
        margin: of the hinge; None for the soft margin log(1 + exp(positive - negative)).
        own_positive: count an anchor among its own positives, as IDKL's release does: an anchor whose identity has no
            other sample then has a positive at distance 0.
    """
    features = features.float()
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    positives = same
    if not own_positive:
        positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    hardest_positive = distances.masked_fill(~positives, -torch.inf).amax(1)
    hardest_negative = distances.masked_fill(same, torch.inf).amin(1)
    valid = positives.any(1) & (~same).any(1)
    # An anchor without a positive or a negative has an infinite term: it is replaced to keep the gradient finite.
    difference = torch.where(valid, hardest_positive - hardest_negative, torch.zeros_like(hardest_positive))
    terms = F.softplus(difference) if margin is None else (difference + margin).clamp_min(0)
    return (terms * valid).sum() / valid.sum().clamp_min(1)


@register_loss("weighted_triplet")
def weighted_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Weighted regularised triplet loss, averaged over the anchors that have a positive and a negative.

    For an anchor i: log(1 + exp(sum over positives of w_ij d_ij - sum over negatives of w_ik d_ik)), where the weights
    are a softmax of d over its positives and of -d over its negatives: hard pairs count most, and no margin has to be
    chosen.

    Source: Ye et al., "Deep learning for person re-identification: a survey and outlook", TPAMI 2021, equations 12 and
    13.

    Args:
        features: `(B, D)`, not normalised, compared by Euclidean distance; labels: `(B,)` int64.
    """
    features = features.float()
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    valid = positives.any(1) & (~same).any(1)
    sides = []
    for pairs, sign in ((positives, 1.0), (~same, -1.0)):
        # A row without pairs would be a softmax of nothing; it is replaced to keep the gradient finite.
        scores = torch.where(valid[:, None], (sign * distances).masked_fill(~pairs, -torch.inf), 0.0)
        sides.append((scores.softmax(1) * distances * pairs).sum(1))
    return (F.softplus(sides[0] - sides[1]) * valid).sum() / valid.sum().clamp_min(1)
