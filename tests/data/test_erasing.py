"""Random erasing: where the rectangle lies, how large it is, and what is in it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.erasing import RectangleOptions, erased


@given(st.integers(0, 1000))
def test_erasing_leaves_the_rest(seed):
    tensor = torch.ones(3, 40, 24)
    hole = erased(tensor.clone(), np.random.default_rng(seed)) == 0
    rows, columns = hole[0].any(1).sum(), hole[0].any(0).sum()
    assert hole[0].sum() == rows * columns
    assert 0 < hole[0].float().mean() <= 0.42
    assert torch.equal(hole[0], hole[2])


def hole_of(shape, seed, **given):
    """The shape of what was erased."""
    tensor = erased(torch.ones(3, *shape), np.random.default_rng(seed), RectangleOptions(**given))
    hole = tensor[0] == 0
    return int(hole.any(1).sum()), int(hole.any(0).sum())


@given(st.integers(0, 1000), st.sampled_from(["log", "even"]))
def test_area_and_aspect_are_within_their_bounds(seed, draw):
    h, w = hole_of((384, 144), seed, area=(0.02, 0.33), aspect=(0.3, 3.3), tries=10, aspect_draw=draw)
    assert (0, 0) < (h, w) < (384, 144)
    assert 0.019 < h * w / (384 * 144) < 0.335
    assert 0.28 < h / w < 3.5


def test_aspect_is_drawn_on_a_logarithmic_scale_or_evenly():
    shapes = {draw: [hole_of((200, 200), seed, area=(0.1, 0.1), aspect=(0.25, 4.0), aspect_draw=draw)
                     for seed in range(400)] for draw in ("log", "even")}  # fmt: skip
    upright = {draw: np.mean([h > w for h, w in found]) for draw, found in shapes.items()}
    assert upright["log"] == pytest.approx(0.5, abs=0.07)
    assert upright["even"] == pytest.approx(0.8, abs=0.07)


def test_what_never_fits_leaves_the_image_whole_or_is_cut_to_it():
    large = {"area": (1.0, 1.0), "aspect": (4.0, 4.0)}
    assert hole_of((20, 20), 0, **large, tries=5) == (0, 0)
    assert hole_of((20, 20), 0, **large) == (20, 10)


def test_each_channel_has_its_value():
    found = erased(torch.ones(3, 40, 24), np.random.default_rng(0), RectangleOptions(value=(0.1, 0.2, 0.3)))
    hole = found[0] != 1
    assert [sorted(set(channel[hole].tolist())) for channel in found.double().round(decimals=4)] == [
        [0.1],
        [0.2],
        [0.3],
    ]


@pytest.mark.parametrize(
    ("given_options", "words"), [({"area": (0.5, 0.1)}, "area is"), ({"aspect": (0.0, 1.0)}, "aspect is")]
)
def test_impossible_ranges_are_refused(given_options, words):
    with pytest.raises(ValueError, match=words):
        RectangleOptions(**given_options)
