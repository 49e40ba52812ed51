"""The losses of variational distillation, as MindSpore computes them; equations and names are those of `crossreid.losses`.

Source: Tian et al., "Farewell to Mutual Information", CVPR 2021; what follows the authors' release alone says so. Logits are
`(N, C)`; all return float32 scalars. Everything is averaged over rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mindspore
import numpy as np
from mindspore import Tensor, ops

from crossreid.errors import NO_PAIRS, CrossreidError

RankedLoss = Callable[..., Tensor]
_TINY = float(np.finfo(np.float32).tiny)
_NO_DIVISION_BY_ZERO = 1e-5


def normalised(features: Tensor) -> Tensor:
    """Rows of `(N, D)` brought to length 1; a row of zeros stays one."""
    squares = ops.clamp(ops.square(features).sum(axis=1, keepdims=True), 1e-24)
    return features / ops.sqrt(squares)


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax of `(N, C)` logits over classes."""
    return ops.log_softmax(logits / temperature, 1)


def cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """-sum_c t_c log p_c, with t = 1 - smoothing at the label `(N,)`, plus smoothing / C everywhere."""
    classes = logits.shape[1]
    hit = (labels.reshape(-1, 1) == ops.arange(classes).reshape(1, -1)).astype(mindspore.float32)
    target = (1 - smoothing) * hit + smoothing / classes
    return -(target * log_probabilities(logits)).sum(axis=1).mean()


def kl_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """D_KL(P || Q) in nats, at least 0."""
    log_p, log_q = log_probabilities(p_logits, temperature), log_probabilities(q_logits, temperature)
    return _relative(log_p, log_q)


def js_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """D_JS(P || Q) in nats, in [0, log 2]."""
    log_p, log_q = log_probabilities(p_logits, temperature), log_probabilities(q_logits, temperature)
    log_mean = ops.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * (_relative(log_p, log_mean) + _relative(log_q, log_mean))


def release_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean over rows and classes of q (log q - p), which the release has in place of D_KL(P || Q); none reaches P."""
    p = ops.softmax(ops.stop_gradient(p_logits) / temperature, 1)
    log_q = log_probabilities(q_logits, temperature)
    return (ops.exp(log_q) * (log_q - p)).mean()


def mutual_learning(a_logits: Tensor, b_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """D_KL(b held fixed || a) + D_KL(a held fixed || b)."""
    to_a = kl_divergence(ops.stop_gradient(b_logits), a_logits, temperature=temperature)
    return to_a + kl_divergence(ops.stop_gradient(a_logits), b_logits, temperature=temperature)


def sinkhorn_distance(
    a: Tensor,
    b: Tensor,
    *,
    epsilon: float = 0.01,
    rounds: int = 100,
    stop: float = 0.1,
    floor: float = 1e-6,
    added: float = 1e-8,
) -> Tensor:
    """Entropic optimal-transport cost of points `(N, D)`, `(M, D)` of equal weight; `crossreid.losses.transport` says the rest.

    Computed in float64; the gradient flows through all rounds. Each round asks the host whether it was the last.
    """
    cost = ops.square(a.astype(mindspore.float64)[:, None, :] - b.astype(mindspore.float64)[None, :, :]).sum(axis=2)
    n, m = cost.shape
    log_a, log_b = math.log(1 / n + added), math.log(1 / m + added)
    u, v = ops.zeros(n, mindspore.float64), ops.zeros(m, mindspore.float64)
    for _ in range(rounds):
        previous = u
        u = epsilon * (log_a - _log_sum(_exponents(u, v, cost, epsilon), 1, floor)) + u
        v = epsilon * (log_b - _log_sum(_exponents(u, v, cost, epsilon), 0, floor)) + v
        if float(ops.abs(ops.stop_gradient(u - previous)).sum().asnumpy()) < stop:
            break
    return (ops.exp(_exponents(u, v, cost, epsilon)) * cost).sum().astype(mindspore.float32)


def euclidean_distances(a: Tensor, b: Tensor) -> Tensor:
    """`(A, D)`, `(B, D)` to distances `(A, B)`; the gradient is finite at distance 0."""
    lengths = ops.square(a).sum(axis=1, keepdims=True) + ops.square(b).sum(axis=1)
    return ops.sqrt(ops.clamp(lengths - 2 * ops.matmul(a, b.swapaxes(0, 1)), 1e-12))


def ranking_loss(distances: Tensor, positives: Tensor, negatives: Tensor, *, boundary: float, margin: float) -> Tensor:
    """The ranked list loss of `(N, M)` distances; masks `(N, M)` are float32, 1 for the pairs that count.

    Positives beyond boundary - margin are pulled by their mean; negatives within the boundary are pushed, weighted by
    exp(boundary - distance), which holds no gradient.
    """
    far = ops.relu(distances - (boundary - margin)) * positives
    near = ops.relu(boundary - distances) * negatives
    count = ops.clamp((far > 0).astype(mindspore.float32).sum(axis=1), 1.0)
    weights = ops.exp(ops.stop_gradient(boundary - distances)) * (near > 0).astype(mindspore.float32)
    pushed = (weights * near).sum(axis=1) / ops.clamp(weights.sum(axis=1), _TINY)
    return (far.sum(axis=1) / count + pushed).mean()


def released_ranking_loss(
    distances: Tensor, positives: Tensor, negatives: Tensor, *, boundary: float, margin: float
) -> Tensor:
    """The same as released: the pull is averaged over all positives, and the weights of negatives have a gradient."""
    pull = ops.relu(distances - (boundary - margin)) * positives
    weights = ops.exp(boundary - distances) * negatives * (distances < boundary).astype(mindspore.float32)
    pulls = pull.sum(axis=1) / (positives.sum(axis=1) + _NO_DIVISION_BY_ZERO)
    pushes = (weights * (boundary - distances)).sum(axis=1) / (weights.sum(axis=1) + _NO_DIVISION_BY_ZERO)
    return (pulls + pushes).mean()


def modality_aware_ranking_loss(
    features: Tensor,
    labels: np.ndarray,
    modalities: np.ndarray,
    *,
    same: tuple[float, float] = (2.2, 0.9),
    across: tuple[float, float] = (2.0, 1.0),
    ranked: RankedLoss = ranking_loss,
) -> Tensor:
    """L_metric of features `(B, D)`, normalised here: ranked pairs within a modality, plus ranked pairs across.

    Labels and modalities `(B,)` lie on the host, where which pairs count is decided.
    """
    unit = normalised(features)
    distances = euclidean_distances(unit, unit)
    alike = labels[:, None] == labels[None, :]
    within = modalities[:, None] == modalities[None, :]
    other = ~np.eye(len(labels), dtype=bool)
    terms = []
    for pairs, (boundary, margin) in ((within & other, same), (~within, across)):
        masks = (Tensor((pairs & kind).astype(np.float32)) for kind in (alike, ~alike))
        terms.append(ranked(distances, *masks, boundary=boundary, margin=margin))
    return terms[0] + terms[1]


def cross_modal_pairs(labels: np.ndarray, modalities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row indices (visible, infrared), each `(n,)`, of all pairs of one identity across the modalities.

    Raises:
        CrossreidError: there is none.
    """
    pairs = (labels[:, None] == labels[None, :]) & (modalities[:, None] == 0) & (modalities[None, :] == 1)
    visible, infrared = np.nonzero(pairs)
    if len(visible) == 0:
        raise CrossreidError(NO_PAIRS)
    return visible, infrared


def _relative(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (ops.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()


def _exponents(u: Tensor, v: Tensor, cost: Tensor, epsilon: float) -> Tensor:
    return (u[:, None] + v[None, :] - cost) / epsilon


def _log_sum(exponents: Tensor, axis: int, floor: float) -> Tensor:
    """log(sum of exp + floor) along `axis`, without overflow."""
    total = ops.logsumexp(exponents, axis)
    return ops.logaddexp(total, ops.full_like(total, math.log(floor))) if floor else total
