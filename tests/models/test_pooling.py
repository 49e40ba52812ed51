"""GeM against its definition, and its limits."""

import torch

from crossreid.models.pooling import GeneralisedMean, ReleasedGeneralisedMean, generalised_mean

MAPS = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) - 0.2


def test_it_is_the_root_of_the_mean_of_powers():
    for p in (1.0, 2.5, 3.0):
        for image, row in zip(MAPS, generalised_mean(MAPS, p), strict=True):
            for channel, value in zip(image, row, strict=True):
                places = [max(float(x), 1e-6) ** p for x in channel.flatten()]
                assert abs(float(value) - (sum(places) / len(places)) ** (1 / p)) < 1e-5


def test_p_of_one_is_the_mean_and_a_large_p_the_maximum():
    above = MAPS.clamp_min(1e-6)
    torch.testing.assert_close(generalised_mean(above, 1.0), above.mean((2, 3)))
    assert bool(((generalised_mean(above, 60.0) - above.amax((2, 3))).abs() < 0.1).all())


def test_p_learns_or_stays():
    pooling = GeneralisedMean(3.0)
    pooling(MAPS.requires_grad_()).sum().backward()
    assert pooling.p.grad.abs() > 0
    assert bool(torch.isfinite(MAPS.grad).all())
    assert not GeneralisedMean(3.0, learn=False).p.requires_grad


def test_half_precision_does_not_overflow():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bool(torch.isfinite(generalised_mean(1e4 * torch.ones(1, 2, 3, 3), 8.0)).all())


def test_the_released_mean_has_no_state_and_no_floor():
    maps = torch.rand(2, 3, 4, 2)
    maps[:, 0] = 0
    pooled = ReleasedGeneralisedMean(3.0)(maps)
    torch.testing.assert_close(pooled[:, 1:], maps[:, 1:].pow(3).mean(dim=(2, 3)).pow(1 / 3))
    torch.testing.assert_close(pooled[:, 0], torch.full((2,), 1e-4))
    assert not ReleasedGeneralisedMean().state_dict()
