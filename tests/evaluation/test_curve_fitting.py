import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from crossreid.data.records import DataError
from crossreid.evaluation.calibration import Curve
from crossreid.evaluation.curve_fitting import class_weights, cross_fitted, fit_curve

METHODS = pytest.mark.parametrize("method", ["isotonic", "platt"])


@st.composite
def labelled(draw):
    count = draw(st.integers(4, 40))
    scores = np.array(draw(st.lists(st.integers(-50, 50), min_size=count, max_size=count))) / 50
    same = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    same[:2] = True, False
    return scores, same


@METHODS
@given(labelled(), st.floats(0.01, 0.9))
def test_curves_rise_and_are_never_certain(method, drawn, prior):
    scores, same = drawn
    curve = fit_curve(scores, same, prior, method)
    assert (np.diff(curve.scores) > 0).all()
    assert (np.diff(curve.probabilities) >= 0).all()
    across = curve(np.linspace(-2, 2, 50))
    assert ((across > 0) & (across < 1)).all()
    order = np.random.default_rng(0).permutation(len(scores))
    np.testing.assert_allclose(fit_curve(scores[order], same[order], prior, method)(scores), curve(scores), atol=1e-5)


@given(labelled(), st.floats(0.01, 0.9))
def test_isotonic_by_the_definition_and_its_limits(drawn, prior):
    """max over starts of min over ends of the weighted mean between (Robertson et al., 1988), but for certainty."""
    scores, same = drawn
    weights = class_weights(same, prior)
    levels = np.unique(scores)
    mass = np.array([weights[scores == level].sum() for level in levels])
    right = np.array([(weights * same)[scores == level].sum() for level in levels])
    expected = np.array([
        max(min(right[i : j + 1].sum() / mass[i : j + 1].sum() for j in range(at, len(levels))) for i in range(at + 1))
        for at in range(len(levels))
    ])  # fmt: skip
    found = fit_curve(scores, same, prior)(levels)
    sure = (expected < 1e-9) | (expected > 1 - 1e-9)
    inner = expected[~sure]
    if len(inner):
        low, high = found.min(), found.max()
        np.testing.assert_allclose(found[~sure], np.clip(inner, low, high), atol=1e-9)
    one, other = weights[same][0], weights[~same][0]
    if (expected > 1 - 1e-9).any():
        agreeing = np.count_nonzero(same[scores >= levels[expected > 1 - 1e-9].min()])
        assert found.max() == pytest.approx(one * agreeing / (one * agreeing + other))


@given(labelled(), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_isotonic_at_another_prior_is_its_curve_with_other_odds(drawn, prior, other):
    scores, same = drawn
    moved = fit_curve(scores, same, prior).at_prior(other, prior)
    np.testing.assert_allclose(moved(np.unique(scores)), fit_curve(scores, same, other)(np.unique(scores)), atol=1e-7)


@given(labelled())
def test_isotonic_knows_the_order_of_scores_alone(drawn):
    scores, same = drawn
    cubed = scores**3 + scores
    np.testing.assert_allclose(fit_curve(cubed, same, 0.3)(cubed), fit_curve(scores, same, 0.3)(scores), atol=1e-9)


def test_platt_is_the_sigmoid_of_least_cross_entropy():
    rng = np.random.default_rng(0)
    same = rng.random(400) < 0.3
    scores = np.round(np.clip(rng.normal(0.3 * same, 0.25), -1, 1), 4)
    weights = class_weights(same, 0.1)
    target = np.where(same, (same.sum() + 1) / (same.sum() + 2), 1 / ((~same).sum() + 2))

    def loss(line):
        logits = line[0] * scores + line[1]
        return np.sum(weights * (np.logaddexp(0, logits) - target * logits))

    slope, shift = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-10}).x
    across = np.linspace(-1, 1, 500)
    expected = 1 / (1 + np.exp(-(slope * across + shift)))
    np.testing.assert_allclose(fit_curve(scores, same, 0.1, "platt")(across), expected, atol=5e-4)


def test_scores_that_say_the_opposite_say_nothing():
    same = np.arange(200) % 2 == 0
    scores = np.where(same, -0.5, 0.5) + np.linspace(-0.1, 0.1, 200)
    for method in ("isotonic", "platt"):
        np.testing.assert_allclose(fit_curve(scores, same, 0.2, method)(np.linspace(-1, 1, 9)), 0.2, atol=1e-6)


def test_what_cannot_be_is_refused():
    scores, same = np.zeros(3), np.array([True, False, True])
    with pytest.raises(DataError, match="expected isotonic or platt"):
        fit_curve(scores, same, 0.5, "beta")
    with pytest.raises(DataError, match="prior 0: expected"):
        fit_curve(scores, same, 0)
    with pytest.raises(DataError, match="only one of these kinds"):
        fit_curve(scores, np.ones(3, bool), 0.5)
    assert class_weights(same, 0.25).tolist() == [0.125, 0.75, 0.125]


def test_no_prediction_has_seen_its_query():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 11, 600), rng.integers(0, 11, 600)
    seen = []

    def fit(scores, same):
        seen.append(scores.astype(int))
        return Curve(np.array([0.0]), np.array([float(len(seen))]))  # which of the fits it was

    predicted = cross_fitted(np.arange(600.0), first == second, first, second, fit)
    assert len(seen) == 5
    assert np.isfinite(predicted).all()
    for row in range(600):
        rows = seen[int(predicted[row]) - 1]
        assert first[row] not in first[rows]
        assert first[row] not in second[rows]
    alone = cross_fitted(np.arange(4.0), np.array([True] * 4), np.arange(4), np.arange(4), fit)
    assert np.isnan(alone).all(), "nothing to fit to"
