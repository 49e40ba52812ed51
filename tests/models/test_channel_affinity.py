"""Channel affinity, recomputed channel by channel."""

import math

import pytest
import torch

from crossreid.models.channel_affinity import channel_affinity


def test_a_channel_takes_in_what_it_is_least_like():
    maps = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    out = channel_affinity(maps, torch.tensor([0.7]))
    for image, given in zip(out, maps, strict=True):
        rows = given.flatten(1).tolist()
        for i, one in enumerate(rows):
            weights = [math.exp(-sum(a * b for a, b in zip(one, two, strict=True))) for two in rows]
            mixed = [sum(w * row[k] for w, row in zip(weights, rows, strict=True)) / sum(weights) for k in range(6)]
            expected = [a + 0.7 * b for a, b in zip(one, mixed, strict=True)]
            assert image[i].flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_without_gain_it_is_the_identity_and_the_gain_learns():
    maps, gain = torch.randn(2, 4, 3, 2), torch.zeros(1, requires_grad=True)
    out = channel_affinity(maps, gain)
    assert torch.equal(out, maps)
    out.pow(2).sum().backward()
    assert gain.grad.item() != 0


def test_its_products_are_not_rounded_by_autocast():
    """Energies of hundreds, as ReLU maps have them, have no digits to spare."""
    maps, gain = 8 * torch.rand(2, 6, 8, 4), torch.tensor([1.0])
    expected = channel_affinity(maps, gain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(channel_affinity(maps, gain), expected)
        assert channel_affinity(maps.bfloat16(), gain).dtype == torch.bfloat16


def test_large_maps_stay_finite():
    maps = (1e4 * torch.rand(2, 4, 3, 2)).requires_grad_()
    out = channel_affinity(maps, torch.tensor([1.0]))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(maps.grad).all()
