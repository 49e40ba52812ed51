"""Gallery draws: the official permutations as they are filed, and the properties of the others."""

import random
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crossreid.data.records import DataError
from crossreid.evaluation.draws import Permutations, draw_gallery, load_permutations

OFFICIAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "protocols" / "SYSU-MM01" / "rand_perm_cam.mat"
GROUPS = {
    ("2", 1): np.array([0, 1, 2]),
    ("2", 4): np.array([3, 4]),
    ("10", 1): np.array([5, 6, 7, 8]),
    ("10", 2): np.array([9]),
}


def cell(values):
    cells = np.empty((len(values), 1), dtype=object)
    for row, value in enumerate(values):
        cells[row, 0] = value
    return cells


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="the official SYSU-MM01 lists are not here")
def test_the_official_file():
    permutations = load_permutations(OFFICIAL)
    raw = loadmat(OFFICIAL)["rand_perm_cam"]
    filled = {(c + 1, i + 1) for c in range(6) for i in range(len(raw[c, 0])) if raw[c, 0][i, 0].size}
    assert set(permutations.orders) == filled
    for camera, identity in ((1, 6), (3, 333), (6, 10)):
        np.testing.assert_array_equal(permutations.orders[camera, identity], raw[camera - 1, 0][identity - 1, 0])
        count = raw[camera - 1, 0][identity - 1, 0].shape[1]
        found = permutations.order(camera, str(identity), 4, count)
        np.testing.assert_array_equal(found + 1, raw[camera - 1, 0][identity - 1, 0][4])
        padded = permutations.order(camera, f"{identity:04d}", 4, count)
        np.testing.assert_array_equal(found, padded)


def test_official_order_is_camera_then_identity_then_permutation():
    orders = {(1, 2): [[2, 3, 1]], (4, 2): [[2, 1]], (1, 10): [[4, 1, 2, 3]], (2, 10): [[1]]}
    permutations = Permutations({key: np.array(order) for key, order in orders.items()})
    found = draw_gallery(GROUPS, "official", 2, 0, permutations=permutations)
    assert found.tolist() == [1, 2, 8, 5, 9, 4, 3]
    indoor = draw_gallery(GROUPS, "official", 1, 0, cameras=(1, 2), permutations=permutations)
    assert indoor.tolist() == [1, 8, 9]


def test_official_mismatch_names_camera_identity_and_both_counts():
    permutations = Permutations({(1, 2): np.array([[1, 2]])}, "rand_perm_cam.mat")
    with pytest.raises(DataError, match="camera 1, identity 2 is for 2 images, but there are 3"):
        draw_gallery(GROUPS, "official", 1, 0, cameras=(1,), permutations=permutations)
    with pytest.raises(DataError, match="camera 1, identity anna is for 0 images, but there are 4"):
        permutations.order(1, "anna", 0, 4)
    with pytest.raises(DataError, match="holds 1 trials; trial 2 was requested"):
        permutations.order(1, "2", 1, 2)
    with pytest.raises(DataError, match=r"needs rand_perm_cam\.mat"):
        draw_gallery(GROUPS, "official", 1, 0)


@pytest.mark.parametrize("shots", [1, 3])
def test_seeded_draws_are_independent_of_the_other_groups(shots):
    whole = draw_gallery(GROUPS, "seeded", shots, 2, seed=5)
    assert len(whole) == sum(min(shots, len(rows)) for rows in GROUPS.values())
    assert len(set(whole.tolist())) == len(whole)
    part = draw_gallery({("10", 1): GROUPS["10", 1]}, "seeded", shots, 2, seed=5)
    assert [row for row in whole if row in GROUPS["10", 1]] == part.tolist()
    drawn = {tuple(draw_gallery(GROUPS, "seeded", 1, trial, seed=5)) for trial in range(10)}
    assert len(drawn) > 3


def test_seeded_draws_are_even():
    counts = np.zeros(4)
    for trial in range(400):
        counts[draw_gallery({("10", 1): np.arange(4)}, "seeded", 1, trial)[0]] += 1
    assert (np.abs(counts - 100) < 40).all()


def test_random_choice_follows_pythons_generator_by_identity_then_camera():
    random.seed(3)
    expected = [random.choice(rows.tolist()) for rows in GROUPS.values()]
    assert draw_gallery(GROUPS, "random-choice", 1, 3).tolist() == expected
    several = draw_gallery(GROUPS, "random-choice", 10, 3)
    assert sorted(several.tolist()) == list(range(10))


def test_unknown_draws_are_refused():
    with pytest.raises(ValueError, match="unknown gallery draw 'dice'"):
        draw_gallery(GROUPS, "dice", 1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.ones(3)}, "expected the variable 'rand_perm_cam', found: other"),
        ({"rand_perm_cam": np.ones((6, 3))}, "with one cell per camera"),
        ({"rand_perm_cam": cell([cell([np.array([[1, 2, 2]])])])}, "camera 1, identity 1: expected trials x images"),
        ({"rand_perm_cam": cell([cell([np.array([[0, 1]])])])}, "camera 1, identity 1: expected trials x images"),
    ],
)
def test_files_that_are_no_permutations_are_refused(tmp_path, content, message):
    savemat(tmp_path / "rand_perm_cam.mat", content)
    with pytest.raises(DataError, match=message):
        load_permutations(tmp_path / "rand_perm_cam.mat")
