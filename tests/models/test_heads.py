"""Necks, bottlenecks and classifiers, recomputed layer by layer."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from crossreid.losses.metric import triplet_loss
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.heads import (
    Bottleneck,
    BottleneckOptions,
    Encoder,
    concatenate_normalised,
    hidden_classifier,
    linear_classifier,
    metric_features,
)

BACKBONE = BackboneOptions(name="test_resnet", weights="none")


def linear_widths(module):
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def test_encoder_pools_the_map_and_normalises_it():
    torch.manual_seed(0)
    encoder = Encoder(BACKBONE)
    images = torch.randn(6, 3, 32, 32)
    v = encoder(images)
    maps = encoder.backbone(images)
    pooled = torch.stack([maps[:, :, i, j] for i in range(maps.shape[2]) for j in range(maps.shape[3])]).mean(0)
    expected = (pooled - pooled.mean(0)) / (pooled.var(0, correction=0) + 1e-5).sqrt()
    assert v.shape == (6, encoder.width)
    torch.testing.assert_close(v, expected, atol=1e-3, rtol=1e-3)


def test_the_necks_shift_stays_at_zero():
    encoder = Encoder(BACKBONE)
    optimiser = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    (encoder(torch.randn(4, 3, 32, 32)) - 1).pow(2).mean().backward()
    optimiser.step()
    assert encoder.neck.weight.grad is not None
    assert torch.equal(encoder.neck.bias, torch.zeros(encoder.width))


def test_bottleneck_of_the_paper():
    assert linear_widths(Bottleneck(2048, BottleneckOptions())) == [(2048, 1024), (1024, 512), (512, 256)]


def test_bottleneck_of_the_release():
    options = BottleneckOptions(hidden=(1000, 500), batch_norm=True, doubled=True)
    bottleneck = Bottleneck(2048, options)
    assert linear_widths(bottleneck) == [(2048, 1000), (1000, 500), (500, 512)]
    assert [layer.num_features for layer in bottleneck if isinstance(layer, nn.BatchNorm1d)] == [1000, 500]
    assert options.out == 512


@torch.no_grad()
def test_bottleneck_is_an_mlp_without_activation_at_its_end():
    bottleneck = Bottleneck(6, BottleneckOptions(hidden=(5, 4), width=3))
    v = torch.randn(7, 6)
    first, second, last = (layer for layer in bottleneck if isinstance(layer, nn.Linear))
    hidden = (v @ first.weight.T + first.bias).clamp_min(0)
    hidden = (hidden @ second.weight.T + second.bias).clamp_min(0)
    z = bottleneck(v)
    torch.testing.assert_close(z, hidden @ last.weight.T + last.bias)
    assert (z < 0).any()


@pytest.mark.parametrize("wrong", [{"width": 0}, {"hidden": (1024, 0)}, {"hidden": (-3,)}, {"depth": 2}])
def test_impossible_bottlenecks_are_refused(wrong):
    with pytest.raises(ValidationError):
        BottleneckOptions(**wrong)


@torch.no_grad()
def test_first_predictions_are_uniform():
    torch.manual_seed(0)
    v = torch.randn(16, 64)
    for classifier in (linear_classifier(64, 10), hidden_classifier(64, 10).eval()):
        torch.testing.assert_close(classifier(v).softmax(1), torch.full((16, 10), 0.1), atol=0.01, rtol=0)


def test_the_releases_classifier_is_half_as_wide_within_and_has_biases():
    classifier = hidden_classifier(512, 395)
    assert linear_widths(classifier) == [(512, 256), (256, 395)]
    assert all(layer.bias is not None for layer in classifier if isinstance(layer, nn.Linear))
    assert linear_classifier(4, 3).bias is None
    assert torch.equal(linear_classifier(4, 3, bias=True).bias, torch.zeros(3))


@torch.no_grad()
def test_a_bottleneck_starts_by_fan_in_or_as_the_release():
    for initialisation, side in (("fan_in", 1), ("release", 0)):
        torch.manual_seed(0)
        bottleneck = Bottleneck(600, BottleneckOptions(hidden=(300,), batch_norm=True, initialisation=initialisation))
        for layer in (bottleneck[0], bottleneck[3]):
            assert float(layer.weight.std()) == pytest.approx((2 / layer.weight.shape[side]) ** 0.5, rel=0.02)
        assert torch.equal(bottleneck[1].weight, torch.ones(300)) == (initialisation == "fan_in")
        assert float(bottleneck[1].weight.std()) == pytest.approx(0.02 * (1 - side), abs=0.003)


@torch.no_grad()
def test_hidden_classifier_drops_units_in_training_only():
    torch.manual_seed(0)
    classifier = hidden_classifier(8, 5, hidden=32)
    z = torch.randn(4, 8)
    classifier.eval()
    assert torch.equal(classifier(z), classifier(z))
    classifier.train()
    assert not torch.equal(classifier(z), classifier(z))
    assert [layer.p for layer in classifier if isinstance(layer, nn.Dropout)] == [0.5]
    assert any(isinstance(layer, nn.LeakyReLU) for layer in classifier)


def test_parts_are_joined_and_have_length_one_together():
    parts = [torch.tensor([[3.0, 0.0]], dtype=torch.bfloat16), torch.tensor([[4.0]])]
    joined = concatenate_normalised(parts)
    assert joined.dtype == torch.float32
    torch.testing.assert_close(joined, torch.tensor([[0.6, 0.0, 0.8]]))


@torch.no_grad()
def test_what_a_metric_loss_compares_is_before_or_after_the_neck():
    pooled, normed = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[-1.0, 0.0], [6.0, 8.0]])
    torch.testing.assert_close(metric_features("pooled", pooled, normed), pooled)
    torch.testing.assert_close(metric_features("unit", pooled, normed), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    torch.testing.assert_close(metric_features("neck", pooled, normed), torch.tensor([[-1.0, 0.0], [0.6, 0.8]]))


def test_shrinking_features_lowers_triplets_of_pooled_ones_alone():
    """Where hard positives are farther than hard negatives, raw distances are lowered by shrinking them all."""
    rows, labels = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    of = {
        kind: [
            float(triplet_loss(metric_features(kind, scale * rows, scale * rows), labels, margin=0.3))
            for scale in (2, 1)
        ]
        for kind in ("pooled", "unit", "neck")
    }
    assert of["pooled"][1] < 0.6 * of["pooled"][0]
    assert of["unit"][1] == pytest.approx(of["unit"][0])
    assert of["neck"][1] == pytest.approx(of["neck"][0])
