import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from crossreid.evaluation.reliability import bins_of_equal_mass, brier_score, diagram, expected_calibration_error


def test_worked_by_hand():
    predicted = np.array([0.1, 0.1, 0.4, 0.8])
    same = np.array([False, True, False, True])
    even = np.full(4, 0.25)
    assert bins_of_equal_mass(predicted, even, 2).tolist() == [0, 0, 1, 1]
    mean, share, mass = diagram(predicted, same, even, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose([mean, share, mass], [[0.1, 0.6], [0.5, 0.5], [0.5, 0.5]])
    assert expected_calibration_error(predicted, same, even, 2) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert brier_score(predicted, same, even) == pytest.approx((0.01 + 0.81 + 0.16 + 0.04) / 4)
    # With all weight on the two right ones.
    assert expected_calibration_error(predicted, same, np.array([0, 0.5, 0, 0.5]), 2) == pytest.approx(0.55)


def test_as_scikit_learn_counts():
    rng = np.random.default_rng(0)
    predicted, same = rng.random(300), rng.random(300) < 0.4
    even = np.full(300, 1 / 300)
    share, mean = calibration_curve(same, predicted, n_bins=15, strategy="quantile")
    ours = diagram(predicted, same, even, bins_of_equal_mass(predicted, even))
    np.testing.assert_allclose(ours[0], mean)
    np.testing.assert_allclose(ours[1], share)
    assert brier_score(predicted, same, even) == pytest.approx(brier_score_loss(same, predicted))
    weights = rng.random(300)
    assert brier_score(predicted, same, weights) == pytest.approx(
        brier_score_loss(same, predicted, sample_weight=weights)
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(1, 5)), min_size=1, max_size=60))
def test_order_and_copies_change_nothing_and_equals_stay_together(rows):
    predicted, same = np.array([row[0] / 9 for row in rows]), np.array([row[1] for row in rows])
    copies = np.array([row[2] for row in rows])
    error = expected_calibration_error(predicted, same, copies.astype(float))
    assert 0 <= error <= 1
    again = np.repeat(np.arange(len(rows)), copies)[::-1]
    assert expected_calibration_error(predicted[again], same[again], np.ones(len(again))) == pytest.approx(
        error, abs=1e-9
    )
    bins = bins_of_equal_mass(predicted, copies.astype(float))
    assert all(len(set(bins[predicted == value])) == 1 for value in predicted)
    own = np.array([np.average(same[predicted == value], weights=copies[predicted == value]) for value in predicted])
    assert expected_calibration_error(own, same, copies.astype(float)) == pytest.approx(0, abs=1e-9), (
        "what is so is said"
    )
