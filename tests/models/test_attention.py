"""Attention modules and the non-local block against their equations, written out with plain functions."""

import torch
from torch.nn import functional as F

from crossreid.models.attention import BottleneckAttention, NonLocal

MAPS = torch.randn(3, 32, 6, 5, generator=torch.Generator().manual_seed(0))


def normalised(values, layer):
    """Batch norm by hand, with the batch's own statistics."""
    mean = values.mean((0, 2, 3), keepdim=True)
    variance = ((values - mean) ** 2).mean((0, 2, 3), keepdim=True)
    shape = (1, -1, 1, 1)
    return (values - mean) / (variance + layer.eps) ** 0.5 * layer.weight.view(shape) + layer.bias.view(shape)


def test_it_is_what_its_equations_say():
    torch.manual_seed(0)
    module = BottleneckAttention(32, reduction=8, dilation=2).train()
    _, squeeze, _, widen, scale = module.channel
    pooled = MAPS.mean((2, 3))
    hidden = torch.relu(pooled @ squeeze.weight.flatten(1).T + squeeze.bias)
    channel = normalised((hidden @ widen.weight.flatten(1).T + widen.bias)[:, :, None, None], scale)
    convolutions = [layer for layer in module.spatial if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in module.spatial if isinstance(layer, torch.nn.BatchNorm2d)]
    assert [layer.dilation for layer in convolutions] == [(1, 1), (2, 2), (2, 2), (1, 1)]
    assert [layer.out_channels for layer in convolutions] == [4, 4, 4, 1]
    spatial = MAPS
    for place, (layer, norm) in enumerate(zip(convolutions, norms, strict=True)):
        padding = 2 if place in (1, 2) else 0
        spatial = normalised(F.conv2d(spatial, layer.weight, padding=padding, dilation=layer.dilation), norm)
        spatial = torch.relu(spatial) if place < 3 else spatial
    expected = MAPS + MAPS * torch.sigmoid(channel + spatial)
    torch.testing.assert_close(module(MAPS), expected, atol=1e-5, rtol=1e-4)


def test_both_gates_learn():
    module = BottleneckAttention(32)
    module(MAPS).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.spatial[0].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_non_local_block_is_its_sum_over_places_and_starts_as_the_identity():
    torch.manual_seed(0)
    block, maps = NonLocal(6).eval(), torch.randn(2, 6, 3, 2)
    torch.testing.assert_close(block(maps), maps)
    torch.nn.init.normal_(block.out[1].weight)
    torch.nn.init.normal_(block.out[1].bias)
    flat = maps.flatten(2)

    def project(layer, column):
        return layer.weight[:, :, 0, 0] @ column + layer.bias

    expected = torch.empty_like(flat)
    for image in range(2):
        for i in range(6):
            y = torch.zeros(3)
            for j in range(6):
                weight = project(block.theta, flat[image, :, i]) @ project(block.phi, flat[image, :, j]) / 6
                y += weight * project(block.g, flat[image, :, j])
            w = project(block.out[0], y)
            norm = block.out[1]
            scaled = (w - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            expected[image, :, i] = flat[image, :, i] + scaled * norm.weight + norm.bias
    torch.testing.assert_close(block(maps).flatten(2), expected, atol=1e-5, rtol=1e-4)
