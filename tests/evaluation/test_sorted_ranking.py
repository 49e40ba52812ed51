"""Sorting and the compiled kernel: the same numbers, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA, same_camera_within, same_place
from crossreid.evaluation.host_distances import host_distance_blocks, repeated_rows
from crossreid.evaluation.ranking import Ranker

RULES = [SAME_IDENTITY_AND_CAMERA, same_camera_within(3), same_place((1, 2))]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 4, 40]),
    st.sampled_from([3, 10**9]),
    st.sampled_from(["every image", "first image of each identity"]),
    st.booleans(),
    st.sampled_from(RULES),
    st.booleans(),
)
def test_sorting_gives_the_kernels_bits(seed, people, levels, counting, trapezoid, rule, junk):
    rng = np.random.default_rng(seed)
    away = rng.integers(0, levels, (9, 120)) / 7
    columns = rng.permutation(120)[:100]
    sides = [(rng.integers(0, n, 9), rng.integers(0, n, 100)) for n in (people, 4, 20)]
    left_out = rng.random((9, 100)) < 0.2 if junk else None
    found = [
        Ranker.of(9, 100, "cpu", *sides[0], *sides[1], *sides[2], exclusion=rule, junk=left_out, counting=counting,
                  trapezoid=trapezoid, few=few).rank(slice(0, 9), away, columns=columns, nearest=True)
        for few in (True, False)
    ]  # fmt: skip
    for name, values in vars(found[0]).items():
        np.testing.assert_array_equal(values, getattr(found[1], name), err_msg=name)


def test_a_bad_distance_is_named_though_few_are_sorted():
    away = np.ones((3, 5))
    away[2, 4] = np.nan
    ranker = Ranker.of(3, 5, "cpu", np.zeros(3, int), np.zeros(5, int), None, None, few=True)
    with pytest.raises(ValueError, match="query 2 to gallery entry 4 is NaN"):
        ranker.rank(slice(0, 3), away)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_finished_to_the_same_bits_without_compiled_code(metric, dtype):
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(300, 24)).astype(dtype), rng.normal(size=(400, 24)).astype(dtype)
    gallery[200:] = gallery[:200]
    for one, other in zip(*(
        [(at, block.copy()) for at, block in host_distance_blocks(query, gallery, metric, rows=110, few=few)]
        for few in (True, False)
    ), strict=True):  # fmt: skip
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[1][:, :200], one[1][:, 200:])
        away = np.linalg.norm(query[one[0], None].astype(float) - gallery[None], axis=2)
        if metric == "euclidean":
            np.testing.assert_allclose(one[1], away, rtol=0, atol=2e-5 if dtype is np.float32 else 1e-12)


def test_rows_that_repeat_are_found():
    rows = np.random.default_rng(1).normal(size=(9, 20)).astype(np.float32)
    rows[[4, 7]] = rows[2]
    rows[8] = rows[5]
    rows[1, 3], rows[3] = 0.0, rows[1]
    rows[3, 3] = -0.0
    again, originals = repeated_rows(rows)
    assert dict(zip(again.tolist(), originals.tolist(), strict=True)) == {3: 1, 4: 2, 7: 2, 8: 5}
