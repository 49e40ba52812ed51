import numpy as np
import pytest

from crossreid.data.records import DataError
from crossreid.evaluation.open_set import open_set_rates, true_accept_rate
from crossreid.evaluation.ranking import rank_distances


def test_worked_by_hand():
    # Impostors at 0.2, 0.4, 0.6, 0.8; genuine at 0.1 (right), 0.3 (wrong), 0.3 (right), 0.7 (right).
    nearest = np.array([0.2, 0.4, 0.6, 0.8, 0.1, 0.3, 0.3, 0.7])
    right = np.array([False] * 4 + [True, False, True, True])
    mated = np.arange(8) >= 4
    expected = {0.0: 0.25, 0.24: 0.25, 0.25: 0.5, 0.5: 0.5, 0.75: 0.75, 1.0: 0.75}
    for rate, value in expected.items():
        assert true_accept_rate(nearest, right, mated, rate) == value, rate


def test_the_rate_of_false_accepts_is_kept_and_no_larger_threshold_keeps_it():
    rng = np.random.default_rng(0)
    nearest, mated = rng.random(500), rng.random(500) < 0.5
    right = mated & (rng.random(500) < 0.8)
    impostors = nearest[~mated]
    for rate in (0.01, 0.1, 0.37):
        best = max(
            np.mean(right[mated] & (nearest[mated] < t)) for t in [*impostors, np.inf] if np.mean(impostors < t) <= rate
        )
        assert true_accept_rate(nearest, right, mated, rate) == best


def test_of_a_ranking():
    distances = np.array([[0.1, 0.9], [0.8, 0.3], [0.5, 0.6]])
    ids = np.array(["a", "a", "z"]), np.array(["a", "b"])
    import torch

    from crossreid.evaluation.ranking import Ranker

    gallery = Ranker.of(
        3, 2, torch.device("cpu"), *ids, None, None, junk=np.array([[False, False]] * 2 + [[True, False]])
    )
    ranking = gallery.rank(slice(0, 3), torch.from_numpy(distances), nearest=True)
    assert ranking.nearest.tolist() == [0.1, 0.3, 0.6], "junk is not accepted"
    assert open_set_rates(ranking, (0.0, 1.0)) == {"TAR@FAR=0": 0.5, "TAR@FAR=1": 0.5}
    with pytest.raises(ValueError, match="nearest=True"):
        open_set_rates(rank_distances(distances, *ids))


@pytest.mark.parametrize(("mated", "message"), [([True, True], "without a match"), ([False, False], "with a match")])
def test_both_kinds_of_queries_are_needed(mated, message):
    with pytest.raises(DataError, match=message):
        true_accept_rate(np.zeros(2), np.ones(2, bool), np.array(mated), 0.1)
    with pytest.raises(ValueError, match="false-accept rate in"):
        true_accept_rate(np.zeros(2), np.ones(2, bool), np.array([True, False]), 1.5)
