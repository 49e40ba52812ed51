"""Losses that align how samples relate: across modalities, and from one stream to another.

Source: Ren and Zhang, "Implicit discriminative knowledge learning for visible-infrared person re-identification",
CVPR 2024. A graph is `(N, M)` log-probabilities: the softmax of each row of Euclidean distances.
Far samples have the largest weight in it, as published. Rows of graphs that are compared must be of the same samples,
or of pairs of one identity: `data.composition.paired_rows` selects these from any batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossreid.errors import NO_PAIRS, CrossreidError
from crossreid.losses.metric import euclidean_distances


def relation_graph(a: Tensor, b: Tensor, *, diagonal: bool = True) -> Tensor:
    """A(a;b): `(N, D)`, `(M, D)` to log-probabilities `(N, M)`, each row a softmax of the distances from a's row to
    b's.

    `diagonal` off leaves out the pairs (i, i), which requires N = M; the result is `(N, N - 1)`.
    """
    distances = euclidean_distances(a, b)
    return F.log_softmax(distances if diagonal else without_diagonal(distances), dim=1)


def without_diagonal(square: Tensor) -> Tensor:
    """`(N, N)` to `(N, N - 1)`: each row without its own column."""
    count = len(square)
    # In the flattened matrix, N numbers lie between two diagonal ones: the first of each group is dropped.
    return square.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)


def graph_divergence(p: Tensor, q: Tensor, *, symmetric: bool = False) -> Tensor:
    """D_KL(P || Q) of log-probabilities `(N, M)`, averaged over rows; plus D_KL(Q || P) where `symmetric`."""
    if symmetric:
        return ((p.exp() - q.exp()) * (p - q)).sum() / len(p)
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def graph_alignment(
    a: Tensor, b: Tensor, *, symmetric: bool = False, diagonal: bool = True, stop_gradient: bool = False
) -> Tensor:
    """TGSA(a;b) = KL(A(a;a) || A(b;b)) + KL(A(a;a) || A(a;b)) + KL(A(a;b) || A(b;b)), at least 0.

    Args:
        a, b: `(N, D)`, row i of both of one sample or of one identity; b is to become like a.
        symmetric: use each divergence in both directions. diagonal: off leaves out the pairs (i, i).
        stop_gradient: pass no gradient to a.
    """
    a = a.detach() if stop_gradient else a
    own, across, other = (relation_graph(x, y, diagonal=diagonal) for x, y in ((a, a), (a, b), (b, b)))
    pairs = ((own, other), (own, across), (across, other))
    return torch.stack([graph_divergence(p, q, symmetric=symmetric) for p, q in pairs]).sum()


def class_alignment(
    specific: Tensor, shared: Tensor, *, symmetric: bool = False, stop_gradient: bool = False
) -> Tensor:
    """D_KL(specific || shared) of predictions from logits `(N, C)`, averaged over rows: CSA, MDR's second term."""
    specific = specific.detach() if stop_gradient else specific
    p, q = (F.log_softmax(logits.float(), dim=1) for logits in (specific, shared))
    return graph_divergence(p, q, symmetric=symmetric)


def entropies(logits: Tensor) -> Tensor:
    """The entropy in nats `(N,)` of each row's prediction."""
    log_p = F.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p).sum(1)


def entropy_reduction(kept: Tensor, whole: Tensor, *, stop_gradient: bool = False) -> Tensor:
    """L_e = softplus(H(kept) - H(whole)), averaged over rows: the kept part should predict the identity with more
    certainty.

    Args:
        kept, whole: logits `(N, C)` of f_sp+ and of f_sp. stop_gradient: pass no gradient to `whole`.
    """
    reference = entropies(whole.detach() if stop_gradient else whole)
    return F.softplus(entropies(kept) - reference).mean()


def labels_in_both(labels: Tensor, modalities: Tensor) -> Tensor:
    """The labels `(I,)` that occur in both modalities, ascending; their number is read from the device.

    Raises:
        CrossreidError: there are none.
    """
    kinds = [labels[modalities == kind] for kind in (0, 1)]
    both = kinds[0][torch.isin(kinds[0], kinds[1])].unique()
    if not len(both):
        raise CrossreidError(NO_PAIRS)
    return both


def centre_distances(features: Tensor, labels: Tensor, modalities: Tensor, identities: Tensor | None = None) -> Tensor:
    """Euclidean distance `(I,)` between the visible and the infrared mean of each identity that occurs in both.

    Args:
        features: `(B, D)`; labels, modalities: `(B,)`.
        identities: the labels `(I,)` that occur in both; None finds them (`labels_in_both`), which waits for the
            device.
    """
    squared = centre_differences(features, labels, modalities, identities).square().sum(1)
    return squared.clamp_min(1e-12).sqrt()


def centre_differences(
    features: Tensor, labels: Tensor, modalities: Tensor, identities: Tensor | None = None
) -> Tensor:
    """The visible minus the infrared mean of each identity that occurs in both, `(I, D)`, ordered as `identities`."""
    features = features.float()
    if identities is None:
        identities = labels_in_both(labels, modalities)
    own, count = labels[:, None] == identities, len(identities)
    # Rows of other identities are summed in an extra row at the end.
    key = 2 * torch.where(own.any(1), own.to(torch.uint8).argmax(1), count) + modalities
    sums = features.new_zeros(2 * count + 2, features.shape[1]).index_add(0, key, features)
    counts = features.new_zeros(2 * count + 2).index_add(0, key, torch.ones_like(features[:, 0]))
    centres = (sums / counts.clamp_min(1)[:, None])[: 2 * count].view(count, 2, -1)
    return centres[:, 0] - centres[:, 1]


def centre_reduction(
    reduced: Tensor,
    normalised: Tensor,
    labels: Tensor,
    modalities: Tensor,
    *,
    stop_gradient: bool = False,
    identities: Tensor | None = None,
) -> Tensor:
    """L_r = softplus(d(reduced) - d(normalised)), d the distance of an identity's modality centres, averaged over
    identities.

    Args:
        reduced, normalised: `(B, D)`, f^- and f^. stop_gradient: pass no gradient to `normalised`.
        identities: as in `centre_distances`.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    if identities is None:
        identities = labels_in_both(labels, modalities)
    reference = centre_distances(normalised.detach() if stop_gradient else normalised, labels, modalities, identities)
    return F.softplus(centre_distances(reduced, labels, modalities, identities) - reference).mean()


def pseudo_modalities(modalities: Tensor) -> Tensor:
    """The targets `(B,)` that the authors' release uses for the shared stream's modality classifier instead of the
    truth.

    The modalities of the batch's first half, each twice, shifted by one position: in batches with alternating
    modalities, half of them are wrong. They depend on the order of the batch, not on the images.
    """
    first = modalities[: (len(modalities) + 1) // 2]
    return torch.roll(first.repeat_interleave(2), -1)[: len(modalities)]
