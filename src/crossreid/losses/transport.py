"""Entropic optimal transport between two sets of points: the distance of predictions in mutual learning.

Source: Cuturi, "Sinkhorn distances: Lightspeed computation of optimal transport", NeurIPS 2013; the defaults are
those of the authors' release of variational distillation (Tian et al., CVPR 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
    """Entropic optimal-transport cost between two sets of points of equal weight, squared Euclidean ground cost.

    The gradient flows through all rounds. With `floor` the mass of a point without a near partner is lost: of one
    whose cost to every other is above -epsilon log(floor), 0.14 as released. Without `floor` and `added` this is
    entropic transport proper.

    Computed in float64: costs divided by epsilon are large where predictions are near certain, and in float32 their
    gradient would be right to three digits only. float32 out, and inside where the device has nothing wider.

    Args:
        a, b: `(N, D)`, `(M, D)`.
        epsilon: weight of the entropy; rounds: at most so many updates of both potentials.
        stop: end after a round in which the first potential changed by less than this in sum (in units of cost).
        floor: added to each sum of exponentials, inside the logarithm; added: to each marginal, inside the logarithm.
    """
    inside = torch.float32 if a.device.type == "mps" else torch.float64
    cost = torch.cdist(a.to(inside), b.to(inside), compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    n, m = cost.shape
    log_a, log_b = math.log(1 / n + added), math.log(1 / m + added)
    u, v = cost.new_zeros(n), cost.new_zeros(m)

    def exponents() -> Tensor:
        return (u[:, None] + v[None, :] - cost) / epsilon

    for _ in range(rounds):
        previous = u
        u = epsilon * (log_a - _log_sum(exponents(), 1, floor)) + u
        v = epsilon * (log_b - _log_sum(exponents(), 0, floor)) + v
        if (u - previous).detach().abs().sum() < stop:
            break
    return (exponents().exp() * cost).sum().float()


def _log_sum(exponents: Tensor, dim: int, floor: float) -> Tensor:
    """log(sum of exp + floor) along `dim`, without overflow."""
    total = torch.logsumexp(exponents, dim)
    return torch.logaddexp(total, torch.full_like(total, math.log(floor))) if floor else total
