"""Curves keep every order, stay probabilities, and are what isotonic regression says they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from crossreid.data.records import DataError
from crossreid.fusion.curves import RISE, fit_rising_curve

labelled = st.lists(
    st.tuples(st.integers(-50, 50), st.booleans()), min_size=2, max_size=60
).filter(lambda pairs: len({same for _, same in pairs}) == 2)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(labelled, st.lists(st.integers(-400, 400), min_size=2, max_size=30, unique=True))
def test_it_strictly_rises_everywhere_and_stays_inside(pairs, asked):
    scores, same = (np.array(part) for part in zip(*pairs, strict=True))
    curve = fit_rising_curve(scores / 7, same)
    found = curve(np.sort(asked) / 7)
    assert (np.diff(found) > 0).all()
    assert ((found > 0) & (found < 1)).all()


@settings(max_examples=40, deadline=None)
@given(labelled, st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_shift_of_a_score_do_not_matter(pairs, scale, shift):
    scores, same = (np.array(part, dtype=float) for part in zip(*pairs, strict=True))
    here, there = fit_rising_curve(scores, same), fit_rising_curve(scale * scores + shift, same)
    np.testing.assert_allclose(there(scale * scores + shift), here(scores), atol=1e-6)


def test_at_the_centres_of_its_steps_it_is_scikit_learns_isotonic_regression():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=3000)
    same = rng.random(3000) < 1 / (1 + np.exp(-2 * scores))
    curve = fit_rising_curve(scores, same)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, same).predict(scores)
    for probability in np.unique(oracle)[1:-1]:
        centre = scores[oracle == probability].mean()
        assert curve(np.array([centre]))[0] == pytest.approx(probability, abs=3 * RISE)
    assert np.abs(curve(scores) - 1 / (1 + np.exp(-2 * scores))).mean() < 0.03  # the truth that labels were drawn from


def test_a_constant_score_is_the_share_of_matches():
    curve = fit_rising_curve(np.full(8, 3.0), np.arange(8) < 2)
    assert curve(np.array([3.0]))[0] == pytest.approx(0.25, abs=2 * RISE)


@pytest.mark.parametrize(("same", "kind"), [(0, "one identity"), (4, "two different identities")])
def test_pairs_of_one_kind_are_refused(same, kind):
    with pytest.raises(DataError, match=f"none of 4 pairs is of {kind}"):
        fit_rising_curve(np.arange(4.0), np.arange(4) < same)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="finite, found nan"):
        fit_rising_curve(np.array([0.0, np.nan]), np.array([True, False]))
