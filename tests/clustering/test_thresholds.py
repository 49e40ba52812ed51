"""Thresholds: stated, by pair, and read of a calibration."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.clustering.thresholds import PAIRS, pairs_of, score_of, stated, thresholds_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration, Curve

DAY, ACROSS, NIGHT = PAIRS


def calibration():
    curve = Curve(np.array([0.2, 0.6, 0.8]), np.array([0.0, 0.4, 1.0]))
    later = Curve(np.array([0.1, 0.5]), np.array([0.0, 0.6]))
    rates = {
        "visible-visible": {1e-3: 0.7, 1e-2: 0.5},
        "infrared-visible": {1e-3: 0.4},
        "visible-infrared": {1e-3: 0.45},
    }
    return Calibration({"visible-visible": curve, "infrared-visible": later}, rates)


def test_a_probability_is_where_the_curve_first_reaches_it():
    curve = calibration().curves["visible-visible"]
    assert score_of(curve, 0.4) == pytest.approx(0.6)
    assert score_of(curve, 0.7) == pytest.approx(0.7)
    assert score_of(curve, 1.0) == pytest.approx(0.8)
    assert score_of(Curve(np.array([0.1, 0.5]), np.array([0.0, 0.6])), 0.61) == math.inf
    assert score_of(Curve(np.array([0.1, 0.5]), np.array([0.3, 0.6])), 0.2) == -1.0


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(0.01, 1), st.integers(0, 1000),
)  # fmt: skip
def test_the_probability_of_that_score_is_the_stated_one(values, probability, seed):
    scores = np.sort(np.random.default_rng(seed).uniform(-1, 1, len(values)))
    curve = Curve(scores, np.sort(values))
    score = score_of(curve, probability)
    if math.isfinite(score):
        assert curve(np.array(max(score, scores[0]))) >= probability - 1e-9
        if score > scores[0]:
            assert curve(np.array(score - 1e-6)) <= probability + 1e-9


def test_thresholds_by_probability_and_by_rate():
    by_probability = thresholds_of([DAY, ACROSS], {}, calibration(), probability=0.7)
    assert by_probability.to_json() == {"visible-visible": pytest.approx(0.7), "visible-infrared": None}
    assert by_probability.source == "probability 0.7"
    by_rate = thresholds_of([DAY, ACROSS], {}, calibration(), false_accept_rate=0.001)
    assert by_rate.to_json() == {"visible-visible": 0.7, "visible-infrared": 0.45}  # the stricter direction
    assert by_rate.table().tolist() == [[0.7, 0.45] * 2, [0.45, math.inf] * 2] * 2
    mixed = thresholds_of([DAY, NIGHT], stated(["infrared-infrared=0.3"]), calibration(), false_accept_rate=0.001)
    assert mixed.cosines == {DAY: 0.7, NIGHT: 0.3}
    assert mixed.source == "false-accept rate 0.001, stated"


def test_tracklets_have_thresholds_of_their_own():
    images = calibration()
    of_two = {"visible-visible": images.curves["infrared-visible"]}
    sets = Calibration(of_two, {"visible-visible": {1e-3: 0.3}})
    mixed = Calibration(of_two, {"visible-visible": {1e-3: 0.6}})
    known = replace(images, others={"sets": sets, "set-image": mixed})
    found = thresholds_of([DAY, ACROSS], {}, known, false_accept_rate=0.001, tracklets=True)
    assert found.table().tolist() == [
        [0.7, 0.45, 0.6, 0.45], [0.45, math.inf, 0.45, math.inf], [0.6, 0.45, 0.3, 0.45], [0.45, math.inf, 0.45, math.inf],
    ], "a pair that is not known of tracklets has that of crops"  # fmt: skip
    assert found.least() == {DAY: 0.3, ACROSS: 0.45}
    assert found.to_json()["sets"] == {"visible-visible": 0.3, "visible-infrared": 0.45}
    assert thresholds_of([DAY], {}, known, false_accept_rate=0.001).of_sets == {}
    by_hand = thresholds_of([DAY, ACROSS], {DAY: 0.9}, known, false_accept_rate=0.001, tracklets=True)
    assert set(by_hand.table()[::2, ::2].ravel().tolist()) == {0.9}, "what is stated is of all"


def test_one_pair_stated_takes_precedence_wherever_it_stands():
    for texts in (["0.5", "infrared-visible=0.2"], ["visible-infrared=0.2", "0.5"]):
        assert stated(texts) == {DAY: 0.5, ACROSS: 0.2, NIGHT: 0.5}
    assert stated(["0.4"], [DAY]) == {DAY: 0.4}
    with pytest.raises(CrossreidError, match="of the modalities present: visible-visible"):
        stated(["visible-infrared=0.2"], [DAY])
    assert pairs_of(np.array([1, 1])) == [NIGHT]
    assert pairs_of(np.array([0, 1])) == [DAY, ACROSS, NIGHT]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "expected a threshold"),
        ({"probability": 0.9}, "crossreid calibrate RUN"),
        ({"probability": 0.9, "false_accept_rate": 0.1}, "expected one of them"),
        ({"calibration": calibration(), "probability": 1.5}, "at most 1"),
        ({"calibration": calibration(), "false_accept_rate": 0.05}, "0.001, 0.01"),
        ({"calibration": calibration(), "probability": 0.5, "pairs": [NIGHT]}, "--threshold infrared-infrared=COSINE"),
        ({"calibration": calibration(), "false_accept_rate": 0.001, "pairs": [NIGHT]}, "--threshold infrared-infrared=COSINE"),
        ({"explicit": {DAY: 0.5}, "calibration": calibration(), "probability": 0.5}, "covers all pairs of modalities"),
        ({"explicit": {DAY: 0.5}, "pairs": [DAY, NIGHT]}, "no threshold for infrared-infrared"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(given, words):
    pairs, explicit, calibrated = given.pop("pairs", [DAY]), given.pop("explicit", {}), given.pop("calibration", None)
    with pytest.raises(CrossreidError, match=words):
        thresholds_of(pairs, explicit, calibrated, **given)


@pytest.mark.parametrize("text", ["near", "1.2", "nan", "day-night=0.5", "visible-visible=", "=0.5"])
def test_a_threshold_that_is_none_is_named(text):
    with pytest.raises(CrossreidError, match="--threshold"):
        stated([text])
