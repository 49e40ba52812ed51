"""Batch norms folded into convolutions change nothing but the time it takes."""

import copy

import pytest
import torch
from torch import nn

from crossreid.inference.fusing import fused
from small_model import HEIGHT, NETWORK, WIDTH, recipe_of, trained_method


@pytest.mark.parametrize("given", [{}, {"attention": "bam"}, {"stage_attention": True}, {"name": "resnet10t"}])
def test_fusing_takes_the_batch_norms_out_and_changes_nothing_else(given):
    recipe = recipe_of("variational_distillation", network={**NETWORK, **given})
    method = trained_method(recipe)
    before = copy.deepcopy(method.state_dict())
    quick = fused(method, HEIGHT, WIDTH)
    left = [name for name, module in quick.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == [], "each of these networks' convolutions has a batch norm of its own"
    images, modalities = torch.randn(6, 3, HEIGHT, WIDTH), torch.arange(6) % 2
    with torch.no_grad():
        torch.testing.assert_close(quick.embed(images, modalities), method.embed(images, modalities), atol=1e-5, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items()), (
        "the method is left alone"
    )


def test_a_batch_norm_that_follows_two_convolutions_is_left_where_it_is():
    method = trained_method(recipe_of())
    blocks = method.encoder.backbone.network.layer1
    first = next(block for block in blocks.modules() if hasattr(block, "bn1") and hasattr(block, "bn2"))
    first.bn2 = first.bn1 if first.bn1.num_features == first.bn2.num_features else first.bn2
    shared = first.bn1 is first.bn2
    quick = fused(method, HEIGHT, WIDTH)
    left = [module for module in quick.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) == (1 if shared else 0)
    assert shared, "the test's network has two batch norms of one width in a block"
