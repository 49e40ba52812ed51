"""The posterior against Bayes' rule written out, and the assignment against all assignments."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.watching.identities import posterior

SAME, DIFFERENT = norm(0.7, 0.15), norm(0.1, 0.2)  # how cosines of pairs of one identity, and of two, are spread


def bayes(scores, new):
    """P(each), P(none): the density of all scores where one of them is of a pair of one identity and the rest are not."""
    count = len(scores)
    joint = []
    for right in [*range(count), None]:
        density = 1.0
        for at, score in enumerate(scores):
            density *= (SAME if at == right else DIFFERENT).pdf(score)
        joint.append(density * (new if right is None else (1 - new) / count))
    return np.array(joint) / sum(joint)


@given(
    scores=st.lists(st.floats(-0.2, 1), min_size=1, max_size=5),
    new=st.floats(0.05, 0.95),
    share=st.floats(0.01, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_posterior_is_bayes_rule_whatever_share_of_pairs_the_calibration_had(scores, new, share):
    scores = np.array(scores)
    calibrated = share * SAME.pdf(scores)
    calibrated /= calibrated + (1 - share) * DIFFERENT.pdf(scores)
    ratios = posterior.log_ratios(calibrated, share, 1e12)
    found = posterior.posterior(posterior.log_weights(ratios, len(scores), new), new)
    assert found == pytest.approx(bayes(scores, new), abs=1e-6)
    assert found.sum() == pytest.approx(1)


def test_what_a_calibration_is_sure_of_counts_for_a_finite_ratio():
    ratios = posterior.log_ratios(np.array([0.0, 0.5, 1.0]), 0.5, 100)
    assert ratios == pytest.approx([-math.log(100), 0, math.log(100)])
    assert posterior.posterior(posterior.log_weights(ratios, 3, 0.5), 0.5)[2] < 1


def test_nobody_known_is_nobody():
    assert posterior.posterior(posterior.log_weights(np.empty(0), 0, 0.5), 0.5) == pytest.approx([1])
    assert posterior.assigned(np.empty((2, 0)), 0.5).tolist() == [-1, -1]


@given(seed=st.integers(0, 1000), tracklets=st.integers(1, 4), identities=st.integers(1, 4), new=st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_assignment_is_the_likeliest_of_all(seed, tracklets, identities, new):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 3, (tracklets, identities))
    weights[rng.random(weights.shape) < 0.2] = -np.inf

    def value(columns):
        return sum(math.log(new) if column < 0 else weights[row, column] for row, column in enumerate(columns))

    every = [
        columns
        for columns in itertools.product(range(-1, identities), repeat=tracklets)
        if len({column for column in columns if column >= 0}) == sum(column >= 0 for column in columns)
    ]
    found = posterior.assigned(weights, new).tolist()
    assert found in [list(columns) for columns in every]
    assert value(found) == pytest.approx(max(map(value, every)))


def test_a_threshold_stands_in_for_a_calibration():
    calibration = posterior.by_threshold(0.6)
    assert calibration.probability(np.array([0.5, 0.6, 0.7]), VISIBLE, INFRARED) == pytest.approx([0, 0.5, 1])
