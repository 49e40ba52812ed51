"""Circle loss against the paper's sum over pairs of pairs, in float64, and by property."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.losses.circle import circle_loss
from labelled_batches import batches, falls_by_its_gradient, full_batch


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def by_loop(features, labels, margin, scale):
    """Equation 6 with equations 5, 7 and 8: log(1 + sum over j, i of exp(gamma (a_n (s_n - D_n) - a_p (s_p - D_p))))."""
    rows, labels = features.tolist(), labels.tolist()
    terms = []
    for i, anchor in enumerate(rows):
        near = [cosine(anchor, row) for j, row in enumerate(rows) if j != i and labels[j] == labels[i]]
        far = [cosine(anchor, row) for j, row in enumerate(rows) if labels[j] != labels[i]]
        total = 0.0
        for s_n in far:
            for s_p in near:
                a_n, a_p = max(s_n + margin, 0), max(1 + margin - s_p, 0)
                total += math.exp(scale * (a_n * (s_n - margin) - a_p * (s_p - (1 - margin))))
        if near and far:
            terms.append(math.log1p(total))
    return sum(terms) / len(terms) if terms else 0.0


@given(batches(), st.sampled_from([0.1, 0.25, 0.4]), st.sampled_from([1.0, 16.0, 80.0]))
@settings(deadline=None, max_examples=60)
def test_it_is_the_equation_in_any_order_and_at_any_length(batch, margin, scale):
    features, labels, _ = batch
    found = circle_loss(features, labels, margin=margin, scale=scale)
    assert found.item() == pytest.approx(by_loop(features, labels, margin, scale), rel=1e-9, abs=1e-12)
    order = torch.randperm(len(labels))
    lengths = torch.rand(len(labels), 1, dtype=torch.float64) + 0.5
    other = circle_loss((features * lengths)[order], labels[order], margin=margin, scale=scale)
    assert other.item() == pytest.approx(found.item(), rel=1e-9, abs=1e-12)


def test_its_gradient_leaves_out_that_of_the_weights():
    features, labels, _ = full_batch()
    features.requires_grad_()
    circle_loss(features, labels, scale=8.0).backward()
    with torch.no_grad():
        unit = features / features.norm(dim=1, keepdim=True)
        weights = unit @ unit.T
    # The same equation with the weights a held at their values, by central differences.
    same = labels[:, None] == labels[None, :]
    other = ~torch.eye(len(labels), dtype=torch.bool)

    def held(values):
        unit = values / values.norm(dim=1, keepdim=True)
        s = unit @ unit.T
        n = (8 * (weights + 0.25).clamp_min(0) * (s - 0.25)).exp() * ~same
        p = (-8 * (1.25 - weights).clamp_min(0) * (s - 0.75)).exp() * (same & other)
        return torch.log1p(n.sum(1) * p.sum(1)).mean()

    step = 1e-6
    for i, j in ((0, 0), (3, 2), (7, 5)):
        moved = torch.zeros_like(features)
        moved[i, j] = step
        slope = (held(features.detach() + moved) - held(features.detach() - moved)) / (2 * step)
        assert features.grad[i, j].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-9)


def test_it_agrees_with_the_library_where_no_anchor_is_left_out():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    features, labels, _ = full_batch(dtype=torch.float32)
    expected = losses.CircleLoss(m=0.25, gamma=16)(features, labels)
    torch.testing.assert_close(circle_loss(features, labels, scale=16.0), expected, rtol=1e-4, atol=1e-5)


def test_bf16_features_lose_nothing_more_and_a_batch_without_pairs_gives_zero():
    features, labels, _ = full_batch(dtype=torch.float32)
    half = features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(circle_loss(half, labels), circle_loss(half.float(), labels))
    alone = torch.randn(3, 4, requires_grad=True)
    circle_loss(alone, torch.arange(3)).backward()
    assert torch.equal(alone.grad, torch.zeros_like(alone))


def test_an_optimiser_brings_it_down():
    features, labels, _ = full_batch(dtype=torch.float32)
    first, last = falls_by_its_gradient(lambda values: circle_loss(values, labels), features, steps=60)
    assert last < 0.05 * first
