from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from calibrated import people
from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import PAIRS
from crossreid.evaluation.exclusion import NO_EXCLUSION, SAME_IDENTITY_AND_CAMERA
from crossreid.evaluation.fitted_calibration import calibration_of, share_of_same
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.scored_pairs import Sides

RATES = (0.01, 0.05, 0.1, 0.2)


@pytest.fixture(scope="module")
def every():
    return people(400, 20, noise=1.2)


@pytest.fixture(scope="module")
def sides(every):
    return Sides(every, every, SAME_IDENTITY_AND_CAMERA)


@pytest.fixture(scope="module")
def made(sides):
    return calibration_of(sides, prior=share_of_same(sides), rates=RATES)


def test_every_pair_of_modalities_has_its_own(made, sides):
    assert sorted(made.curves) == sorted(PAIRS)
    assert made.prior == share_of_same(sides) == pytest.approx(0.04, abs=0.01)
    assert made.curves["visible-infrared"] is made.curves["infrared-visible"], "a cosine has no direction"
    assert made.curves["visible-visible"] is not made.curves["infrared-infrared"]
    for measured in made.measured.values():
        assert measured.pooled == ""
        assert 0 <= measured.ece < 0.01
        assert measured.balanced_ece < 0.06
        assert measured.brier < measured.brier_of_prior
        assert measured.mass.sum() == pytest.approx(1)


def test_the_curve_is_that_of_all_pairs_weighed_to_the_prior(made, sides):
    from crossreid.data.records import VISIBLE

    pairs, prior = sides.pairs(VISIBLE, VISIBLE), made.prior
    share = pairs.same.mean()
    weights = np.where(pairs.same, prior / share, (1 - prior) / (1 - share))
    expected = IsotonicRegression().fit(pairs.scores, pairs.same, sample_weight=weights).predict(pairs.scores)
    inner = (expected > 0.01) & (expected < 0.9)
    assert inner.any()
    np.testing.assert_allclose(made.curves["visible-visible"](pairs.scores)[inner], expected[inner], atol=1e-6)


def test_thresholds_keep_their_rates_and_lower_ones_do_not(made, sides):
    from crossreid.data.records import Modality

    for query in Modality:
        for gallery in Modality:
            name = f"{query.name}-{gallery.name}".lower()
            pairs, nearest = sides.pairs(query, gallery), sides.nearest(query, gallery)
            for rate in RATES:
                for scores, least in (
                    (pairs.scores[~pairs.same], made.thresholds[name][rate]),
                    (nearest.impostor, made.nearest[name][rate]),
                ):
                    assert np.mean(scores >= least) <= rate < np.mean(scores >= np.nextafter(least, -1)) + 1e-12
            assert list(made.thresholds[name]) == list(RATES)
            assert made.measured[name].accepted[0.1] == np.mean(pairs.scores[pairs.same] >= made.thresholds[name][0.1])


def test_open_set_rates_are_those_of_the_protocol():
    """The threshold itself gives the rates that the protocol reports of the same embeddings."""
    every = people(300, 20, modalities=1, cameras=3)
    numbers = np.array([int(name[1:]) for name in every.identities])
    asks = (every.cameras == 1) & (np.arange(300) % 2 == 0)
    features = every.take(asks | (numbers < 14))  # of identities from 14 on the gallery has nothing
    asks = asks[asks | (numbers < 14)]
    features = replace(features, roles=np.where(asks, "query", "gallery"))
    (score,) = evaluate(features, "open-set", metric="cosine")
    sides = Sides(features, features, SAME_IDENTITY_AND_CAMERA, ("-1",))
    made = calibration_of(sides, prior=0.05, rates=RATES, open_set=True)
    measured = made.measured["visible-visible"]
    reported = score.trials[0].open_set
    assert reported.keys() == {f"TAR@FAR={rate:g}" for rate in RATES}
    for rate in RATES:
        assert measured.found[rate] == pytest.approx(reported[f"TAR@FAR={rate:g}"])
    assert measured.queries == np.count_nonzero(
        asks & np.isin(numbers[np.isin(every.names, features.names)], range(14, 20))
    )


def test_too_few_pairs_of_two_modalities_take_the_curve_of_all():
    every = people(200, 12)
    lone = every.take((every.modalities == 0) | (np.arange(200) < 25))
    notes = []
    made = calibration_of(Sides(lone, lone, NO_EXCLUSION), prior=0.1, say=notes.append)
    infrared = made.measured["infrared-infrared"]
    assert infrared.pooled.endswith("are too few")
    assert infrared.pairs == sum(made.measured[name].pairs for name in ("visible-visible", "visible-infrared")) + (
        len(Sides(lone, lone, NO_EXCLUSION).pairs(*[1, 1]))
    )
    assert [note.partition(":")[0] for note in notes] == ["infrared-infrared"]
    visible = every.take(every.modalities == 0)
    only = calibration_of(Sides(visible, visible, NO_EXCLUSION), prior=0.1)
    assert list(only.curves) == ["visible-visible"], "nothing is said of what was never seen"


def test_what_is_too_little_is_said():
    few = people(12, 4)
    sides = Sides(few, few, SAME_IDENTITY_AND_CAMERA)
    with pytest.raises(DataError, match=r"too few pairs of tracklets to calibrate with: \d+ pairs of one identity"):
        calibration_of(sides, prior=0.1, what="tracklets")
    with pytest.raises(DataError, match="too few pairs of images"):
        share_of_same(sides)
    with pytest.raises(CrossreidError, match="false-accept rate 1: expected"):
        calibration_of(sides, prior=0.1, rates=(1,))


def test_errors_are_not_measured_on_what_was_fitted():
    """Embeddings that say nothing of identity: a curve that has seen its pairs would still find them a little likely."""
    noise = replace(people(200, 20), embeddings=np.random.default_rng(3).normal(size=(200, 4)))
    sides = Sides(noise, noise, NO_EXCLUSION)
    measured = calibration_of(sides, prior=0.05).measured["visible-visible"]
    assert measured.brier >= measured.brier_of_prior - 1e-4
