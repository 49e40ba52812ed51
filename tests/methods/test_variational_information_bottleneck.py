"""VIB: its divergence against torch's, its samples in training, its fixed draws at test."""

import pytest
import torch
from test_three_branch import batch_of, method_of
from torch.distributions import Normal, kl_divergence

from crossreid.models.heads import BottleneckOptions, GaussianBottleneck

NAME = "variational_information_bottleneck"


@torch.no_grad()
def test_the_term_is_the_divergence_of_every_branch_from_the_prior():
    method, batch = method_of(NAME, weight=0.25), batch_of()
    total = 0.0
    for name, rows in (
        ("infrared", batch.modalities == 1),
        ("visible", batch.modalities == 0),
        ("shared", slice(None)),
    ):
        _, mean, deviation = method.branches[name].posterior(batch.images[rows])
        total += kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(1).mean().item()
    assert method.losses(batch)["bottleneck"].item() == pytest.approx(0.25 * total, rel=1e-4)


def test_training_draws_z_anew_with_gradient_to_mean_and_deviation():
    method, batch = method_of(NAME, branches="shared"), batch_of()
    _, one, _, _, mean, deviation = method.shared(batch.images)
    _, two, *_ = method.shared(batch.images)
    assert not torch.equal(one, two)
    gradients = torch.autograd.grad(one.sum(), [mean, deviation], retain_graph=True)
    torch.testing.assert_close(gradients[0], torch.ones_like(mean))
    torch.testing.assert_close(gradients[1], (one - mean).detach() / deviation.detach(), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_samples_have_the_mean_and_deviation_they_are_drawn_with():
    torch.manual_seed(0)
    method, batch = method_of(NAME, branches="shared"), batch_of(identities=2)
    method.shared.bottleneck.layers[-1].bias[8:] = 6.0  # a deviation of about one
    _, mean, deviation = method.shared.posterior(batch.images)
    draws = torch.stack([method.shared.encode(batch.images)[1] for _ in range(400)])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.35, rtol=0)
    torch.testing.assert_close(draws.std(0), deviation, atol=0.3, rtol=0)


@torch.no_grad()
def test_the_test_feature_is_the_mean_of_normalised_draws_with_the_same_noise_for_all():
    method = method_of(NAME, branches="shared", test_features="representation", test_samples=3)
    batch = batch_of(identities=1)
    _, mean, deviation = method.shared.posterior(batch.images)
    noise = torch.randn((3, 8), generator=torch.Generator().manual_seed(0))
    for row, embedding in enumerate(method.embed(batch.images, batch.modalities)):
        draws = [mean[row] + deviation[row] * eps for eps in noise]
        expected = sum(draw / draw.norm() for draw in draws)
        torch.testing.assert_close(embedding, expected / expected.norm(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_no_samples_means_the_mean():
    method = method_of(NAME, branches="shared", test_features="representation", test_samples=0)
    batch = batch_of()
    _, mean, _ = method.shared.posterior(batch.images)
    torch.testing.assert_close(method.embed(batch.images, batch.modalities), mean / mean.norm(dim=1, keepdim=True))


def test_the_draws_for_tests_are_no_weights():
    assert not any("noise" in key for key in method_of(NAME).state_dict())


@torch.no_grad()
@pytest.mark.parametrize("doubled", [False, True])
def test_gaussian_bottlenecks_start_nearly_noiseless(doubled):
    torch.manual_seed(0)
    options = BottleneckOptions(hidden=(16,), width=6, doubled=doubled)
    mean, deviation = GaussianBottleneck(4, options)(0.01 * torch.randn(5, 4))
    assert mean.shape == deviation.shape == (5, options.out)
    assert (deviation > 0).all()
    assert deviation.max() < 0.05
