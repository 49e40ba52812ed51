import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrated import known_calibration, straight
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.calibration import Calibration, Curve
from crossreid.evaluation.calibration_files import from_json, from_short_text, short_text, to_json

SCORES = np.linspace(-1, 1, 401)


@st.composite
def curves(draw):
    knots = draw(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=60, unique=True))
    values = draw(st.lists(st.integers(1, 99_999), min_size=len(knots), max_size=len(knots)))
    return Curve(np.array(sorted(knots)) / 10**4, np.array(sorted(values)) / 10**5)


def test_probabilities_are_those_of_the_pair():
    made = known_calibration()
    scores = np.array([[0.5, 2.0], [-1.0, 0.1]])
    np.testing.assert_allclose(
        made.probability(scores, VISIBLE, VISIBLE), [[0.5, 0.99], [0.01, 0.108]], rtol=0, atol=1e-12
    )
    assert made.probability(np.array(0.7), VISIBLE, INFRARED) == pytest.approx(0.5)
    only = replace(made, curves={"visible-visible": straight(0, 1)})
    with pytest.raises(DataError, match="no curve for infrared-visible, only for visible-visible"):
        only.probability(scores, INFRARED, VISIBLE)


def test_thresholds_are_found_and_those_that_are_not_are_named():
    made = known_calibration()
    assert made.threshold(0.1, VISIBLE, INFRARED) == pytest.approx(0.7)
    assert made.threshold(0.1, VISIBLE, INFRARED, nearest=True) == pytest.approx(0.75)
    with pytest.raises(DataError, match=r"has thresholds for 0.01, 0.1. Calibrate with --false-accept-rate 0.2"):
        made.threshold(0.2, VISIBLE, VISIBLE)
    with pytest.raises(DataError, match="no thresholds for visible-visible, only for no pair"):
        Calibration({}, {}).threshold(0.1, VISIBLE, VISIBLE)


def test_sets_have_their_own_where_it_was_made():
    images, sets, mixed = known_calibration(), known_calibration(low=0.3), known_calibration(low=0.1)
    assert images.of_sets() is images
    both = replace(images, others={"sets": sets, "set-image": mixed})
    assert both.of_sets() is sets
    assert both.of_sets(gallery=False) is both.of_sets(query=False) is mixed
    assert both.of_sets(query=False, gallery=False) is both


@given(curves(), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_another_prior_moves_the_odds_and_back(curve, before, prior):
    moved = curve.at_prior(prior, before)
    assert (np.diff(moved.probabilities) >= 0).all()
    assert set(curve.scores) <= set(moved.scores)
    odds = moved(curve.scores) / (1 - moved(curve.scores))
    expected = curve.probabilities / (1 - curve.probabilities) * (prior / (1 - prior)) / (before / (1 - before))
    np.testing.assert_allclose(odds, expected, rtol=1e-6)
    np.testing.assert_allclose(moved.at_prior(before, prior)(curve.scores), curve.probabilities, rtol=1e-9)


def test_a_prior_must_be_one_and_be_known():
    with pytest.raises(DataError, match="prior 1: expected the share"):
        known_calibration().at_prior(1)
    with pytest.raises(DataError, match="does not state the prior"):
        Calibration({}, {}).at_prior(0.5)
    moved = replace(known_calibration(), others={"sets": known_calibration()}).at_prior(0.5)
    assert moved.prior == moved.others["sets"].prior == 0.5
    assert moved.probability(np.array(0.5), VISIBLE, VISIBLE) == pytest.approx(0.95, abs=1e-3), "odds of 1 times 19"


@given(curves(), st.integers(2, 40))
def test_a_thinned_curve_keeps_to_its_points(curve, most):
    thin = curve.thinned(most)
    assert len(thin.scores) <= max(most, 2)
    assert set(zip(thin.scores, thin.probabilities, strict=True)) <= set(
        zip(curve.scores, curve.probabilities, strict=True)
    )
    finer = curve.thinned(most + 20)
    away = [np.abs(each(curve.scores) - curve.probabilities).max() for each in (thin, finer)]
    assert away[1] <= away[0] + 1e-12
    assert curve.thinned(60) is curve


def test_a_straight_line_needs_two_points():
    line = Curve(np.linspace(0, 1, 33), np.linspace(0.25, 0.75, 33))
    assert line.thinned(10).scores.tolist() == [0, 1]


@given(st.lists(curves(), min_size=4, max_size=4))
def test_files_hold_what_was_made(drawn):
    made = known_calibration("f" * 64)
    made = replace(made, curves=dict(zip(made.curves, drawn, strict=True)), others={"sets": made})
    back = from_json(json.loads(json.dumps(to_json(made))), "here")
    short = from_short_text(short_text(made), "here")
    for found in (back, short):
        assert (found.fingerprint, found.method, found.prior) == ("f" * 64, "isotonic", 0.05)
        assert list(found.curves) == list(made.curves)
        assert found.others.keys() == {"sets"}
    for name, curve in made.curves.items():
        assert back.curves[name].scores.tolist() == curve.scores.tolist()
        assert back.curves[name].probabilities.tolist() == curve.probabilities.tolist()
        assert back.nearest[name] == made.nearest[name]
        np.testing.assert_array_less(
            np.array(list(made.thresholds[name].values())) - 1e-12, list(short.thresholds[name].values())
        )
        np.testing.assert_allclose(
            list(short.thresholds[name].values()), list(made.thresholds[name].values()), atol=1.1e-6
        )
        # The points that it keeps are the curve's own, as they were rounded.
        np.testing.assert_allclose(curve(short.curves[name].scores), short.curves[name].probabilities, atol=1e-9)


def test_a_short_text_fits_a_row_whatever_the_curves():
    knots = np.sort(np.random.default_rng(0).uniform(-1, 1, 257))
    made = known_calibration("f" * 64, rates=(0.001, 0.01, 0.05, 0.1))
    others = {}
    for kind in ("sets", "set-image", "images"):
        curves = {
            name: Curve(knots, np.sort(np.random.default_rng(place).uniform(0, 1, 257)))
            for place, name in enumerate(made.curves)
        }
        others[kind] = replace(made, curves=curves)
    made = replace(others.pop("images"), others=others)
    text = short_text(made)
    assert 2000 < len(text) <= 3900
    found = from_short_text(text, "here")
    assert np.abs(found.curves["visible-visible"](SCORES) - made.curves["visible-visible"](SCORES)).max() < 0.2
    few = replace(made, others={})
    assert (
        np.abs(
            from_short_text(short_text(few), "x").curves["visible-visible"](SCORES)
            - few.curves["visible-visible"](SCORES)
        ).max()
        < 0.05
    )
    crowded = {name: {rate / 1000: 0.5 for rate in range(1, 200)} for name in made.curves}
    with pytest.raises(DataError, match="too many thresholds"):
        short_text(replace(made, thresholds=crowded))


DAMAGES = [
    {"format": "crossreid-calibration-9"}, {"prior": 2}, {"prior": "x"}, {"images": None}, {"images": {"visible": {}}},
    {"images": {"visible-visible": {"scores": [0, 0], "probabilities": [0, 1], "thresholds": {}, "nearest": {}}}},
    {"images": {"visible-visible": {"scores": [0, 1], "probabilities": [1, 0], "thresholds": {}, "nearest": {}}}},
    {"images": {"visible-visible": {"scores": [0, 1], "probabilities": [0, 2], "thresholds": {}, "nearest": {}}}},
    {"images": {"visible-visible": {"scores": [], "probabilities": [], "thresholds": {}, "nearest": {}}}},
    {"images": {"visible-visible": {"scores": [0], "probabilities": [0], "thresholds": [], "nearest": {}}}},
    {"images": {"visible-visible": {"scores": [0], "probabilities": [float("nan")], "thresholds": {}, "nearest": {}}}},
]  # fmt: skip


@pytest.mark.parametrize("change", DAMAGES, ids=str)
def test_what_is_damaged_is_named(change):
    with pytest.raises(DataError, match=r"^there/calibration.json is .*Calibrate again"):
        from_json({**to_json(known_calibration()), **change}, "there/calibration.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"kinds": 3}',
        '{"format":"x","fingerprint":"","method":"","prior":null,"kinds":{}}',
    ],
)
def test_a_short_text_that_is_none_is_damage(text):
    with pytest.raises(DataError, match="there"):
        from_short_text(text, "there")
    with pytest.raises(DataError, match="there is not a calibration"):
        from_json([], "there")
