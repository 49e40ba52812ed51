"""Fused probabilities: monotone in each score, indifferent to a score that says nothing, and better than either alone."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

import crossreid
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.errors import CrossreidError
from crossreid.fusion.calibrated import CalibratedFusion, kind_name, kinds_of


def drawn(count=4000, scores=2, seed=0, share=0.2):
    """Labelled pairs with independent scores of different scales."""
    rng = np.random.default_rng(seed)
    same = rng.random(count) < share
    return [10.0**k * (rng.normal(size=count) + 1.5 * same) for k in range(scores)], same


@pytest.fixture(scope="module", params=[False, True], ids=["equal", "learned"])
def fusion(request):
    scores, same = drawn()
    return CalibratedFusion.fit(["a", "b"], scores, same, learn_weights=request.param)


@settings(max_examples=60, deadline=None)
@given(first=st.floats(-6, 6), second=st.floats(-60, 60), more=st.floats(1e-3, 5), which=st.sampled_from([0, 1]))
def test_it_rises_in_each_score(fusion, first, second, more, which):
    low = np.array([[first], [second]])
    high = low + np.array([[more], [0.0]] if which == 0 else [[0.0], [10 * more]])
    before, after = fusion.probability(list(low)), fusion.probability(list(high))
    assert 0 < before[0] < after[0] < 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-400, 400), min_size=2, max_size=40, unique=True))
def test_a_score_fused_with_itself_changes_no_ranking(fusion, asked):
    scores, same = drawn()
    learned = bool(fusion.weights)
    twice = CalibratedFusion.fit(["a", "a again"], [scores[0], scores[0]], same, learn_weights=learned)
    values = np.array(asked) / 100
    assert np.array_equal(np.argsort(twice.probability([values, values])), np.argsort(values))


@pytest.mark.parametrize("learned", [False, True])
def test_a_constant_score_changes_nothing(learned):
    scores, same = drawn()
    with_nothing = CalibratedFusion.fit(["a", "nothing"], [scores[0], np.zeros(len(same))], same, learn_weights=learned)
    asked = np.linspace(-5, 7, 500)
    found = with_nothing.probability([asked, np.zeros(500)])
    assert (np.diff(found) > 0).all()


def test_two_independent_scores_are_better_than_either(fusion):
    scores, same = drawn(seed=1)
    fused = roc_auc_score(same, fusion.probability(scores))
    assert fused > max(roc_auc_score(same, one) for one in scores) + 0.05


def test_learned_probabilities_are_probabilities():
    """The mean of two probabilities is too cautious where scores are independent; learned weights see that."""
    scores, same = drawn()
    asked, truth = drawn(seed=1)
    losses = [
        log_loss(truth, CalibratedFusion.fit(["a", "b"], scores, same, learn_weights=learned).probability(asked))
        for learned in (False, True)
    ]
    assert losses[1] < losses[0] - 0.01
    fused = CalibratedFusion.fit(["a", "b"], scores, same, learn_weights=True).probability(asked)
    for low, high in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95)):
        inside = (fused >= low) & (fused < high)
        assert abs(truth[inside].mean() - fused[inside].mean()) < 0.08


def test_a_score_that_speaks_against_a_match_gets_no_weight():
    """What is left of one score when the other is known may be negative; more alike must not be less probable."""
    rng = np.random.default_rng(0)
    same = rng.random(20000) < 0.5
    hidden = rng.normal(size=20000)
    scores = [3 * same + hidden, hidden + 0.3 * same + 0.05 * rng.normal(size=20000)]
    (learned,) = CalibratedFusion.fit(["a", "b"], scores, same, learn_weights=True).weights.values()
    assert learned.weights[0] > 0
    assert learned.weights[1] == 0


def test_pairs_of_modalities_have_curves_of_their_own():
    scores, same = drawn(scores=1)
    kinds = kinds_of(np.array([INFRARED, VISIBLE]).repeat(2000), VISIBLE)
    shifted = scores[0] + 5 * (kinds == kinds[0])
    fusion = CalibratedFusion.fit(["a"], [shifted], same, kinds)
    assert [kind_name(kind) for kind in fusion.curves] == ["visible-visible", "infrared-visible"]
    asked = np.array([1.0, 6.0])
    across, within = fusion.probability([asked[1:]], kinds[:1])[0], fusion.probability([asked[:1]], kinds[-1:])[0]
    assert across == pytest.approx(within, abs=0.05)
    assert fusion.pairs[int(kinds[0])] == (2000, int(same[:2000].sum()))
    with pytest.raises(DataError, match="none of visible-infrared"):
        fusion.probability([asked], 1)
    told = json.loads(json.dumps(fusion.to_json()))
    assert told["infrared-visible"]["pairs"] == 2000
    assert np.diff(told["infrared-visible"]["curves"]["a"]["probabilities"]).min() > 0


def test_what_does_not_fit_is_refused():
    scores, same = drawn(count=50)
    with pytest.raises(CrossreidError, match="a name for each score"):
        CalibratedFusion.fit(["a"], scores, same)
    with pytest.raises(CrossreidError, match="of the same pairs"):
        CalibratedFusion.fit(["a", "b"], [scores[0], scores[1][:-1]], same)
    fusion = crossreid.CalibratedFusion.fit(["a", "b"], scores, same)
    with pytest.raises(CrossreidError, match="found 1 scores"):
        fusion.probability(scores[:1])
