"""Exact measures against loops over all outcomes, and against other libraries."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from discrete_information import (
    Joint,
    entropy,
    entropy_difference_bound,
    information,
    js,
    kl,
    prediction,
    sufficiency_gap_bound,
)


@st.composite
def joints(draw, names=("a", "b", "c")):
    shape = tuple(draw(st.integers(1, 4)) for _ in names)
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    table = generator.gamma(draw(st.sampled_from([0.2, 1.0, 10.0])), size=shape)
    table *= generator.random(shape) < draw(st.sampled_from([0.5, 1.0]))
    table.flat[generator.integers(table.size)] += 0.1
    return Joint(table / table.sum(), names)


def by_loop(joint):
    """I(a; b | c) = sum p(a,b,c) log [ p(c) p(a,b,c) / p(a,c) p(b,c) ], outcome by outcome."""
    p, total = joint.table, 0.0
    for a, b, c in itertools.product(*map(range, p.shape)):
        if p[a, b, c] > 0:
            ratio = p[:, :, c].sum() * p[a, b, c] / (p[a, :, c].sum() * p[:, b, c].sum())
            total += p[a, b, c] * math.log(ratio)
    return total


@given(joints())
def test_conditional_information_is_the_definition(joint):
    assert information(joint, "a", "b", given="c") == pytest.approx(by_loop(joint), abs=1e-9)


@given(joints())
def test_information_and_entropy_are_other_libraries(joint):
    counts = joint.marginal("a b")
    apart = np.outer(counts.sum(1), counts.sum(0))
    assert information(joint, "a", "b") == pytest.approx(scipy_entropy(counts.ravel(), apart.ravel()), abs=1e-9)
    assert entropy(joint, "a b c") == pytest.approx(scipy_entropy(joint.table.ravel()), abs=1e-9)


@given(joints())
def test_what_every_distribution_obeys(joint):
    assert information(joint, "a", "b", "c") >= -1e-12
    assert information(joint, "a", "b") == pytest.approx(information(joint, "b", "a"), abs=1e-9)
    assert information(joint, "a", "a") == pytest.approx(entropy(joint, "a"), abs=1e-9)
    assert entropy(joint, "a", given="b") <= entropy(joint, "a") + 1e-9
    chain = information(joint, "a", "b") + information(joint, "a", "c", given="b")
    assert information(joint, "a", "b c") == pytest.approx(chain, abs=1e-9)


@given(joints())
def test_predictions_are_rows_of_probabilities(joint):
    table = prediction(joint, "b", "a c")
    np.testing.assert_allclose(table.sum(-1), 1)
    weight = joint.marginal("a c")[..., None]
    np.testing.assert_allclose(weight * table, joint.marginal("a c b"), atol=1e-12)
    per_outcome = scipy_entropy(table, axis=-1)
    assert entropy(joint, "b", given="a c") == pytest.approx((joint.marginal("a c") * per_outcome).sum(), abs=1e-9)


@given(st.integers(0, 2**31), st.integers(2, 6))
def test_divergences_are_other_libraries(seed, size):
    p, q = np.random.default_rng(seed).dirichlet(np.full(size, 0.7), size=(2, 3))
    np.testing.assert_allclose(kl(p, q), [scipy_entropy(a, b) for a, b in zip(p, q, strict=True)], atol=1e-12)
    np.testing.assert_allclose(js(p, q), [jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)], atol=1e-9)


def test_divergences_at_zeros():
    assert kl([0.5, 0.5, 0.0], [0.25, 0.5, 0.25]) == pytest.approx(0.5 * math.log(2))
    assert kl([1.0, 0.0], [0.0, 1.0]) == np.inf
    assert js([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2))


@given(st.integers(0, 2**31), st.integers(2, 6), st.sampled_from([0.01, 0.3, 3.0]))
def test_entropies_differ_by_no_more_than_the_bound(seed, size, scale):
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.ones(size))
    q = p * np.exp(scale * generator.normal(size=size))
    q /= q.sum()
    assert abs(scipy_entropy(p) - scipy_entropy(q)) <= entropy_difference_bound(float(kl(p, q)), size) + 1e-12


def test_the_bound_on_entropies_is_reached():
    """Moving the mass t from a certain outcome evenly to the others: the extremal case of the inequality."""
    t, size = 0.2, 5
    p, q = np.eye(size)[0], np.array([1 - t, *[t / (size - 1)] * (size - 1)])
    assert scipy_entropy(q) - scipy_entropy(p) == pytest.approx(entropy_difference_bound(2 * t**2, size))
    assert entropy_difference_bound(1e9, size) == pytest.approx(math.log(size))
    assert entropy_difference_bound(0.0, size) == 0.0


def test_without_error_the_gaps_bound_is_what_is_distilled():
    assert sufficiency_gap_bound(0.25, 0.0, 40.0) == 0.25
    assert sufficiency_gap_bound(0.25, 0.02, 3.0) == pytest.approx(0.25 + 0.02 + 3 * 0.2)


@pytest.mark.parametrize(
    ("table", "names", "message"),
    [
        ([[0.5, 0.5]], ("a",), "one name for each of 2 axes"),
        ([0.5, 0.6], ("a",), "sum to 1"),
        ([-0.5, 1.5], ("a",), "sum to 1"),
        ([[0.5], [0.5]], ("a", "a"), "each once"),
    ],
)
def test_what_is_no_distribution_is_refused(table, names, message):
    with pytest.raises(ValueError, match=message):
        Joint(np.array(table), names)


def test_unknown_variables_are_named():
    with pytest.raises(ValueError, match="no variable d; this distribution has a, b"):
        entropy(Joint(np.full((2, 2), 0.25), ("a", "b")), "a", given="d")
