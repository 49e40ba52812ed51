"""What the authors' release of IDKL minimises where it differs from the paper: graphs, slots, the purifier's hinges.

The release is 1KK077/IDKL, commit 8676b62, of Ren and Zhang, CVPR 2024; `tests/parity/idkl` holds numbers from it.
All divergences are used in both directions, with gradient to both sides. Some of it cannot have been intended
(docs/implicit_knowledge.md): rows of mixed graphs are of other identities than the rows they are compared with, and
slots are a softmax over the classes of several images at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.alignment import (
    centre_differences,
    entropies,
    graph_divergence,
    labels_in_both,
    pseudo_modalities,
    without_diagonal,
)
from crossreid.losses.metric import euclidean_distances


def released_graph(features: Tensor) -> Tensor:
    """`(N, D)` to log-probabilities `(N, N - 1)` of each row's distances to all others, squares floored at 1e-6."""
    return F.log_softmax(without_diagonal(euclidean_distances(features, features, floor=1e-6)), dim=1)


def released_graph_alignment(a: Tensor, b: Tensor) -> Tensor:
    """The divergence of the graphs of `(N, D)` and `(N, D)`, in both directions: one pair where the paper has three.

    0 for one row, whose graph is empty.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    return graph_divergence(released_graph(a), released_graph(b), symmetric=True)


def mixed_graph_alignment(visible: Tensor, infrared: Tensor) -> Tensor:
    """MDR's graphs: of the visible rows `(N, D)`, of the infrared rows `(N, D)`, and of half of each; each pair of
    graphs.

    The mixed rows are the first half of the visible ones followed by the first half of the infrared ones: none of that
    second half is of the identity that it is compared with.
    """
    half = len(visible) // 2
    mixed = torch.cat([visible[: len(visible) - half], infrared[:half]])
    pairs = ((visible, infrared), (visible, mixed), (mixed, infrared))
    return torch.stack([released_graph_alignment(a, b) for a, b in pairs]).sum()


def slot_alignment(a: Tensor, b: Tensor, k: int) -> Tensor:
    """The divergence of slots, in both directions, averaged over the k of them.

    Slot j is the softmax of the concatenated logits of the j-th image of every identity.

    Args:
        a, b: logits `(I k, C)`, k rows per identity.
    """
    p, q = (F.log_softmax(_slots(logits.float(), k), dim=1) for logits in (a, b))
    return graph_divergence(p, q, symmetric=True)


def _slots(logits: Tensor, k: int) -> Tensor:
    return logits.view(-1, k, logits.shape[1]).transpose(0, 1).reshape(k, -1)


def released_entropy_reduction(kept: Tensor, whole: Tensor) -> Tensor:
    """L_e as released, of logits `(N, C)`: exp(max(0, H(kept) - H(whole))) - 1, averaged over rows."""
    return (torch.exp((entropies(kept) - entropies(whole)).clamp_min(0)) - 1).mean()


def released_centre_distances(
    features: Tensor, labels: Tensor, modalities: Tensor, identities: Tensor | None = None
) -> Tensor:
    """Distances `(I,)` of an identity's modality means, 1e-6 added to each coordinate of the difference.

    Args:
        as `losses.alignment.centre_distances`.
    """
    return (centre_differences(features, labels, modalities, identities) + 1e-6).norm(dim=1)


def released_centre_reduction(
    reduced: Tensor, normalised: Tensor, labels: Tensor, modalities: Tensor, identities: Tensor | None = None
) -> Tensor:
    """L_r as released, of `(B, D)`: max(0, d(reduced) - d(normalised)), averaged over identities.

    Args:
        as `losses.alignment.centre_reduction`.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    if identities is None:
        identities = labels_in_both(labels, modalities)
    reference = released_centre_distances(normalised, labels, modalities, identities)
    return (released_centre_distances(reduced, labels, modalities, identities) - reference).clamp_min(0).mean()


def released_order(labels: Tensor, modalities: Tensor) -> Tensor:
    """Rows `(B,)` in the order of the release's batches: identity by identity, infrared and visible alternating.

    Identities are in the order of their first occurrence in the batch, images of one modality in their order; every row
    occurs once.
    """
    count = torch.arange(len(labels), device=labels.device)
    same = labels[:, None] == labels
    first = torch.where(same, count, len(labels)).amin(1)
    earlier = (same & (modalities[:, None] == modalities) & (count < count[:, None])).sum(1)
    return ((first * len(labels) + earlier) * 2 + 1 - modalities).argsort(stable=True)


def released_pseudo_modalities(labels: Tensor, modalities: Tensor) -> Tensor:
    """The confuser's targets `(B,)` in the release: `pseudo_modalities` in the release's order of the batch."""
    order = released_order(labels, modalities)
    return torch.empty_like(modalities).scatter(0, order, pseudo_modalities(modalities[order]))
