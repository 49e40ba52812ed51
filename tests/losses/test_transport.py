"""Entropic transport against exact optimal transport, and against the release's rounds in plain numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog

from crossreid.losses.transport import sinkhorn_distance

PROPER = {"floor": 0.0, "added": 0.0}


def exact_transport(a, b):
    """Optimal transport between equal weights by linear programming."""
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones((1, m)))
    columns = np.kron(np.ones((1, n)), np.eye(m))
    marginals = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals, bounds=(0, None)).fun


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6))
def test_sinkhorn_tends_to_exact_transport_as_the_entropy_vanishes(seed, n, m):
    generator = np.random.default_rng(seed)
    a, b = generator.random((n, 3)), generator.random((m, 3))
    value = sinkhorn_distance(torch.tensor(a), torch.tensor(b), epsilon=2e-3, rounds=4000, stop=1e-7, **PROPER)
    assert float(value) == pytest.approx(exact_transport(a, b), abs=0.01)


def test_sinkhorn_finds_the_best_matching_of_two_batches():
    generator = np.random.default_rng(1)
    a = generator.random((8, 4))
    b = a[generator.permutation(8)] + 0.02 * generator.random((8, 4))
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    value = sinkhorn_distance(torch.tensor(a), torch.tensor(b), epsilon=1e-3, rounds=2000, stop=1e-7, **PROPER)
    assert float(value) == pytest.approx(cost[rows, columns].mean(), abs=1e-3)


@given(st.integers(0, 2**31))
def test_sinkhorn_as_the_release_sets_it_is_finite_nonnegative_and_blind_to_order(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(6, 5, generator=generator).softmax(1) for _ in range(2))
    order = torch.randperm(6, generator=generator)
    leaf = a.clone().requires_grad_()
    value = sinkhorn_distance(leaf, b)
    value.backward()
    assert value.item() >= 0
    assert torch.isfinite(leaf.grad).all()
    torch.testing.assert_close(sinkhorn_distance(a[order], b), value.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sinkhorn_distance(a, b[order]), value.detach(), atol=1e-5, rtol=1e-4)


def released_by_loop(a, b, eps=0.01, most=100, stop=0.1):
    """The release's rounds, in plain numbers: a floor of 1e-6 inside the logarithm, 1e-8 added to the marginals."""
    n, m = len(a), len(b)
    cost = [[sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for q in b] for p in a]
    u, v = [0.0] * n, [0.0] * m
    for _ in range(most):
        old = list(u)
        for potentials, other, size in ((u, v, n), (v, u, m)):
            sums = []
            for i in range(size):
                costs = cost[i] if potentials is u else [row[i] for row in cost]
                exponents = [(potentials[i] + w - c) / eps for w, c in zip(other, costs, strict=True)]
                sums.append(math.log(sum(math.exp(x) for x in exponents) + 1e-6))
            potentials[:] = [eps * (math.log(1 / size + 1e-8) - s) + x for s, x in zip(sums, potentials, strict=True)]
        if sum(abs(x - y) for x, y in zip(u, old, strict=True)) < stop:
            break
    return sum(math.exp((u[i] + v[j] - cost[i][j]) / eps) * cost[i][j] for i in range(n) for j in range(m))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.1, 1.0, 6.0]))
def test_sinkhorn_is_the_releases_loop(seed, n, m, scale):
    generator = torch.Generator().manual_seed(seed)
    a, b = ((scale * torch.randn(rows, 4, generator=generator)).softmax(1) for rows in (n, m))
    expected = released_by_loop(a.double().tolist(), b.double().tolist())
    assert float(sinkhorn_distance(a, b)) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sinkhorn_is_float32_whatever_it_is_given(dtype):
    a, b = torch.randn(4, 3).softmax(1), torch.randn(5, 3).softmax(1)
    value = sinkhorn_distance(a.to(dtype), b.to(dtype))
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(sinkhorn_distance(a, b)), rel=0.1)


def test_sinkhorn_of_equal_points_has_finite_gradients():
    points = torch.full((4, 3), 1 / 3, requires_grad=True)
    value = sinkhorn_distance(points, points.detach())
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(points.grad).all()


def released_by_autograd(a, b, eps=0.01, most=100, stop=0.1, floor=1e-6, added=1e-8):
    """The rounds as they are defined, in float64, for autograd to go back through."""
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    u, v = torch.zeros(len(a)).double(), torch.zeros(len(b)).double()
    for _ in range(most):
        before = u
        rows = ((u[:, None] + v - cost) / eps).exp().sum(1) + floor
        u = eps * (math.log(1 / len(a) + added) - rows.log()) + u
        columns = ((u[:, None] + v - cost) / eps).exp().sum(0) + floor
        v = eps * (math.log(1 / len(b) + added) - columns.log()) + v
        if (u - before).abs().sum() < stop:
            break
    return (((u[:, None] + v - cost) / eps).exp() * cost).sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 7), st.sampled_from([0.1, 1.0, 4.0]))
def test_the_gradient_is_that_of_the_rounds(seed, n, m, scale):
    generator = torch.Generator().manual_seed(seed)
    a, b = ((scale * torch.randn(rows, 4, generator=generator).double()).requires_grad_() for rows in (n, m))
    found, expected = sinkhorn_distance(a.softmax(1), b.softmax(1)), released_by_autograd(a.softmax(1), b.softmax(1))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-12)
    for one, other in zip(torch.autograd.grad(found, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-7)
