"""Pixels go to the scale that weights want, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.normalisation import IMAGENET, Normalisation

triples = st.tuples(*[st.floats(-1, 2)] * 3)
positive = st.tuples(*[st.floats(0.05, 3)] * 3)


@given(triples, positive, st.integers(0, 2**32 - 1))
def test_bytes_and_raw_values_are_normalised_alike_and_come_back(mean, std, seed):
    image = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    of = Normalisation(mean, std)
    expected = ((image / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    np.testing.assert_allclose(of.of_bytes(image).numpy(), expected, rtol=1e-5, atol=1e-4)
    raw = torch.tensor(image.transpose(2, 0, 1) / 255, dtype=torch.float32)
    torch.testing.assert_close(of.of_raw(raw), of.of_bytes(image), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(of.raw(of.of_raw(raw)), raw, rtol=0, atol=1e-5)


def test_equal_numbers_are_equal_scales_and_are_printed():
    assert Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) == IMAGENET
    assert Normalisation((0.5,) * 3, (0.5,) * 3) != IMAGENET
    assert str(IMAGENET) == "mean 0.485, 0.456, 0.406, deviation 0.229, 0.224, 0.225"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precision_stays(dtype):
    assert IMAGENET.of_raw(torch.rand(1, 3, 2, 2, dtype=dtype)).dtype == dtype
