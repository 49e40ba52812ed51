"""Entropic optimal transport between two sets of points: the distance of predictions in mutual learning.

Source: Cuturi, "Sinkhorn distances: Lightspeed computation of optimal transport", NeurIPS 2013; the defaults are
those of the authors' release of variational distillation (Tian et al., CVPR 2021).
"""

from __future__ import annotations

import math
from typing import Any

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

    The gradient flows through all rounds. With `floor`, the mass of a point without a near partner is lost: of a point
    whose cost to every other is above -epsilon log(floor), 0.14 as released. Without `floor` and `added` this is
    proper entropic transport.

    Computed in float64: costs divided by epsilon are large if predictions are nearly certain, and in float32 their
    gradient would have only three correct digits. The result is float32, and so is the computation if the device has
    nothing wider.

    Args:
        a, b: `(N, D)`, `(M, D)`.
        epsilon: weight of the entropy; rounds: the most updates of both potentials.
        stop: end after a round in which the first potential changed by less than this in sum (in units of cost).
        floor: added to each sum of exponentials, inside the logarithm; added: to each marginal, inside the logarithm.
    """
    inside = torch.float32 if a.device.type == "mps" else torch.float64
    cost = torch.cdist(a.to(inside), b.to(inside), compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    # Reading on the host when to stop would wait for the device, and the compiler could not trace it.
    early = cost.device.type == "cpu"
    total: Tensor = torch.ops.crossreid.entropic_transport(cost, epsilon, rounds, stop, floor, added, early)[0]
    return total.float()


def _forward(
    cost: Tensor, epsilon: float, rounds: int, stop: float, floor: float, added: float, early: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The cost of the plan for costs `(N, M)`; and the start of every round, as potentials divided by epsilon, and
    their shares.

    The former are `(rounds + 1, N)` and `(rounds + 1, M)`, the last one the result of the rounds; the latter
    `(rounds, N)` and `(rounds, M)`: the share of a sum of exponentials in that sum plus the floor, 0 after the end of
    the rounds. `early` reads from the device when that is; without it all rounds are computed, and those after the end
    change nothing.
    """
    n, m = cost.shape
    log_a, log_b = math.log(1 / n + added), math.log(1 / m + added)
    near = -cost / epsilon
    us, vs = [near.new_zeros(n)], [near.new_zeros(m)]
    u_shares: list[Tensor] = []
    v_shares: list[Tensor] = []
    going = torch.ones((), dtype=torch.bool, device=cost.device)
    for done in range(1, rounds + 1):
        u, u_share = _moved(us[-1], vs[-1], near, log_a, floor, going)
        v, v_share = _moved(vs[-1], u, near.T, log_b, floor, going)
        going = going & ((u - us[-1]).abs().sum() * epsilon >= stop)
        for kept, new in ((us, u), (vs, v), (u_shares, u_share), (v_shares, v_share)):
            kept.append(new)
        if early and not bool(going.numpy()):
            us, vs = (kept + kept[-1:] * (rounds - done) for kept in (us, vs))
            u_shares, v_shares = (
                kept + [kept[0].new_zeros(len(kept[0]))] * (rounds - done) for kept in (u_shares, v_shares)
            )
            break
    total = ((us[-1][:, None] + vs[-1] + near).exp() * cost).sum()
    return total, torch.stack(us), torch.stack(vs), torch.stack(u_shares), torch.stack(v_shares)


def _moved(
    own: Tensor, other: Tensor, near: Tensor, log_mass: float, floor: float, going: Tensor
) -> tuple[Tensor, Tensor]:
    """A potential after its update by the other one, for costs `(own, other)`, and its shares; kept if not `going`."""
    exponents = near + other
    # One kernel instead of nine for a log-sum-exp, which is each exponent minus its log-softmax.
    total = exponents[:, 0] - torch.log_softmax(exponents, 1)[:, 0] + own
    floored = torch.logaddexp(total, torch.full_like(total, math.log(floor))) if floor else total
    return torch.where(going, own + log_mass - floored, own), (total - floored).exp() * going


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.epsilon, ctx.early = inputs[1], inputs[6]
    ctx.save_for_backward(inputs[0], *output[1:])


def _gradient(context: Any, gradient: Tensor, *_unused: Tensor) -> tuple[Tensor | None, ...]:
    given = (gradient, *context.saved_tensors, context.epsilon, context.early)
    return torch.ops.crossreid.entropic_transport_gradient(*given), *[None] * 6


def _backward(
    gradient: Tensor,
    cost: Tensor,
    us: Tensor,
    vs: Tensor,
    u_shares: Tensor,
    v_shares: Tensor,
    epsilon: float,
    early: bool,
) -> Tensor:
    """The gradient `(N, M)` of the costs, through all rounds, from the last to the first."""
    near = -cost / epsilon
    plan = (us[-1][:, None] + vs[-1] + near).exp()
    moved = gradient * plan * cost
    of_u, of_v, of_near = moved.sum(1), moved.sum(0), moved
    rounds = int(u_shares.any(1).sum().numpy()) if early else len(u_shares)
    for done in range(rounds - 1, -1, -1):
        # v was updated by the logarithm of its sums over u, where each exponent has its softmax weight.
        pulled = of_v * v_shares[done]
        weights = torch.softmax(near + us[done + 1][:, None], 0)
        of_v, of_u = of_v - pulled, torch.addmv(of_u, weights, pulled, alpha=-1)
        of_near = torch.addcmul(of_near, weights, pulled, value=-1)
        pulled = of_u * u_shares[done]
        weights = torch.softmax(near + vs[done], 1)
        of_u, of_v = of_u - pulled, torch.addmv(of_v, weights.T, pulled, alpha=-1)
        of_near = torch.addcmul(of_near, weights, pulled[:, None], value=-1)
    return gradient * plan - of_near / epsilon


def _shapes(
    cost: Tensor, epsilon: float, rounds: int, stop: float, floor: float, added: float, early: bool
) -> tuple[Tensor, ...]:
    n, m = cost.shape
    shapes = ((), (rounds + 1, n), (rounds + 1, m), (rounds, n), (rounds, m))
    return tuple(cost.new_empty(shape) for shape in shapes)


# A single operator for the compiler, which would otherwise unroll all rounds.
_LIBRARY = torch.library.Library("crossreid", "DEF")
_LIBRARY.define(
    "entropic_transport(Tensor cost, float epsilon, int rounds, float stop, float floor, float added, bool early)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "entropic_transport_gradient(Tensor gradient, Tensor cost, Tensor us, Tensor vs, Tensor u_shares, Tensor v_shares,"
    " float epsilon, bool early) -> Tensor"
)
_LIBRARY.impl("entropic_transport", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("entropic_transport_gradient", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("crossreid::entropic_transport", _shapes, lib=_LIBRARY)
torch.library.register_fake(
    "crossreid::entropic_transport_gradient", lambda gradient, cost, *rest: torch.empty_like(cost), lib=_LIBRARY
)
torch.library.register_autograd("crossreid::entropic_transport", _gradient, setup_context=_keep, lib=_LIBRARY)
