"""Estimators against loops, against exact values where the best critic is known, and against the truth once trained."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from crossreid.losses.information import (
    ESTIMATORS,
    MutualInformation,
    correlated_gaussians_information,
    correlation_for,
    donsker_varadhan,
    gaussian_kl,
    infonce,
    jensen_shannon,
    log_mean_exp,
    nwj,
    off_diagonal,
)
from crossreid.studies.estimators import estimate, gaussian_pairs


@st.composite
def score_tables(draw):
    size = draw(st.integers(2, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return draw(st.sampled_from([0.01, 1.0, 6.0])) * torch.randn(size, size, generator=generator, dtype=torch.float64)


def split(scores):
    """Scores of pairs that belong together, and of those that do not, as lists."""
    n = len(scores)
    joint = [float(scores[i, i]) for i in range(n)]
    return joint, [float(scores[i, j]) for i in range(n) for j in range(n) if i != j]


@given(score_tables())
def test_bounds_are_their_definitions(scores):
    joint, product = split(scores)
    n, mean = len(joint), np.mean(joint)
    assert off_diagonal(scores).tolist() == product
    exponential = np.mean(np.exp(product))
    assert float(log_mean_exp(scores)) == pytest.approx(math.log(exponential), abs=1e-9)
    assert float(donsker_varadhan(scores)) == pytest.approx(mean - math.log(exponential), abs=1e-9)
    assert float(nwj(scores)) == pytest.approx(mean - exponential / math.e, rel=1e-9, abs=1e-9)
    rows = [float(scores[i, i]) - math.log(sum(math.exp(float(scores[i, j])) for j in range(n)) / n) for i in range(n)]
    assert float(infonce(scores)) == pytest.approx(np.mean(rows), abs=1e-9)
    js = 2 * math.log(2) - np.mean([math.log1p(math.exp(-t)) for t in joint])
    js -= np.mean([math.log1p(math.exp(t)) for t in product])
    assert float(jensen_shannon(scores)) == pytest.approx(js, abs=1e-9)


@given(score_tables(), st.randoms(use_true_random=False))
def test_the_order_of_pairs_is_irrelevant(scores, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    for bound in (infonce, nwj, donsker_varadhan, jensen_shannon):
        torch.testing.assert_close(bound(scores[order][:, order]), bound(scores))


@given(score_tables())
def test_their_ceilings(scores):
    assert float(infonce(scores)) <= math.log(len(scores)) + 1e-9
    assert float(jensen_shannon(scores)) <= 2 * math.log(2) + 1e-9
    assert float(nwj(scores)) <= float(donsker_varadhan(scores)) + 1e-9


def test_scores_that_tell_nothing_give_nothing():
    for kind in ESTIMATORS:
        scores = torch.zeros(5, 5) + (1.0 if kind == "nwj" else 0.0)
        assert MutualInformation(kind)(scores).nats.item() == pytest.approx(0, abs=1e-6)


@given(st.floats(0.01, 4), st.integers(1, 40))
def test_gaussians_information_is_its_determinant(each, dimension):
    information = each * dimension
    rho = correlation_for(information, dimension)
    covariance = np.kron([[1, rho], [rho, 1]], np.eye(dimension))
    assert -0.5 * np.linalg.slogdet(covariance)[1] == pytest.approx(information, rel=1e-6)
    assert correlated_gaussians_information(rho, dimension) == pytest.approx(information, rel=1e-6)


@pytest.mark.parametrize(("information", "dimension"), [(0.5, 1), (1.0, 3), (2.0, 10)])
def test_with_the_best_critic_the_bounds_are_tight(information, dimension):
    """The best critic is log p(v,z) / p(v)p(z), from SciPy's densities; the bounds' means are then the truth."""
    rho = correlation_for(information, dimension)
    generator = torch.Generator().manual_seed(0)
    joint = multivariate_normal(np.zeros(2), [[1, rho], [rho, 1]])
    found = {"nwj": [], "donsker_varadhan": [], "infonce": []}
    for _ in range(20):
        v, z = (part.double().numpy() for part in gaussian_pairs(200, dimension, information, generator))
        pairs = np.stack(np.broadcast_arrays(v[:, None, :], z[None, :, :]), axis=-1)
        ratio = joint.logpdf(pairs).reshape(200, 200, dimension) - norm.logpdf(pairs).sum(-1)
        scores = torch.from_numpy(ratio.sum(-1))
        found["nwj"].append(float(nwj(scores + 1)))
        found["donsker_varadhan"].append(float(donsker_varadhan(scores)))
        found["infonce"].append(float(infonce(scores)))
    for name, values in found.items():
        assert np.mean(values) == pytest.approx(information, abs=0.12), name


def test_jensen_shannon_reaches_twice_the_divergence():
    """On a small discrete distribution, sampled, with its best critic; the divergence itself is summed exactly."""
    joint = np.array([[0.4, 0.1], [0.1, 0.4]])
    product = np.outer(joint.sum(1), joint.sum(0))
    middle = (joint + product) / 2
    exact = np.sum(joint * np.log(joint / middle)) + np.sum(product * np.log(product / middle))
    cells = np.random.default_rng(0).choice(4, size=4000, p=joint.ravel())
    ratio = torch.from_numpy(np.log(joint / product))
    scores = ratio[torch.from_numpy(cells // 2)[:, None], torch.from_numpy(cells % 2)[None, :]]
    assert float(jensen_shannon(scores)) == pytest.approx(exact, abs=0.02)
    assert 2 * math.log(2) > exact > 0.05


def test_mine_divides_by_its_moving_average():
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    first, second = scores, (scores * 1.5).requires_grad_()
    mine = MutualInformation("mine", decay=0.9)
    mine(first)
    bound = mine(second)
    means = [np.mean(np.exp(split(table)[1])) for table in (first, second.detach())]
    average = 0.9 * means[0] + 0.1 * means[1]
    assert float(mine.log_average.exp()) == pytest.approx(average, rel=1e-5)
    assert bound.nats.item() == pytest.approx(float(donsker_varadhan(second.detach())), rel=1e-5)
    assert bound.objective.item() == pytest.approx(bound.nats.item(), rel=1e-5)
    bound.objective.backward()
    expected = -second.detach().exp() / (30 * average)
    expected.fill_diagonal_(1 / 6)
    torch.testing.assert_close(second.grad, expected)
    mine.eval()
    mine(first)
    assert float(mine.log_average.exp()) == pytest.approx(average, rel=1e-5)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_gradient_is_the_objectives(kind):
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    bound = MutualInformation(kind).eval()(scores)
    assert not bound.nats.requires_grad
    (found,) = torch.autograd.grad(bound.objective, scores)
    definition = {"jensen-shannon": jensen_shannon, "mine": donsker_varadhan, "infonce": infonce, "nwj": nwj}[kind]
    (expected,) = torch.autograd.grad(definition(scores), scores)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_pair_is_refused(kind):
    with pytest.raises(ValueError, match="2 pairs or more to estimate mutual information from, found 1"):
        MutualInformation(kind)(torch.zeros(1, 1))


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_gaussian_kl_is_torchs(seed, rows, width):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, width, generator=generator)
    deviation = torch.rand(rows, width, generator=generator) * 3 + 0.01
    prior = torch.distributions.Normal(torch.zeros(width), torch.ones(width))
    exact = torch.distributions.kl_divergence(torch.distributions.Normal(mean, deviation), prior).sum(1).mean()
    torch.testing.assert_close(gaussian_kl(mean, deviation), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_trained_critics_find_small_values_and_miss_large_ones(kind):
    small = [estimate(kind, 4, truth, batch=64, steps=200, tests=40) for truth in (0.5, 1.5)]
    for found in small:
        assert found.nats == pytest.approx(found.truth, abs=0.25)
    large = estimate(kind, 20, 12.0, batch=32, steps=200, tests=40)
    assert large.nats < 9
    if kind == "infonce":
        assert large.nats <= math.log(32)
    assert small[0].nats < small[1].nats < large.nats


def test_an_estimate_is_the_same_each_time():
    first = estimate("nwj", 2, 1.0, steps=5, tests=3)
    assert first == estimate("nwj", 2, 1.0, steps=5, tests=3)
    assert first != estimate("nwj", 2, 1.0, seed=1, steps=5, tests=3)
