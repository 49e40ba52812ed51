"""Losses of the centres of two modalities against loops over identities, and by property."""

import math

import pytest
import torch
from hypothesis import given, settings

from crossreid.losses.hetero_centre import hetero_centre_loss, hetero_centre_triplet_loss
from labelled_batches import batches, falls_by_its_gradient, full_batch


def centres_by_loop(features, labels, modalities):
    """(identity, modality) to the mean of its features, plain lists."""
    members = {}
    for row, label, kind in zip(features.tolist(), labels.tolist(), modalities.tolist(), strict=True):
        members.setdefault((label, kind), []).append(row)
    return {key: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for key, rows in members.items()}


def hetero_centre_by_loop(*batch):
    centres = centres_by_loop(*batch)
    both = [label for label, kind in centres if kind == 0 and (label, 1) in centres]
    return sum(math.dist(centres[label, 0], centres[label, 1]) ** 2 for label in both)


def triplet_by_loop(*batch, margin):
    centres = centres_by_loop(*batch)
    terms = []
    for (label, kind), centre in centres.items():
        foreign = [math.dist(centre, other) for (name, _), other in centres.items() if name != label]
        if (label, 1 - kind) in centres and foreign:
            terms.append(max(0.0, margin + math.dist(centre, centres[label, 1 - kind]) - min(foreign)))
    return sum(terms) / len(terms) if terms else 0.0


@given(batches())
@settings(deadline=None, max_examples=80)
def test_they_are_the_equations_in_any_order_and_in_either_modality(batch):
    features, labels, modalities = batch
    order = torch.randperm(len(labels))
    for loss, expected in (
        (hetero_centre_loss, hetero_centre_by_loop(*batch)),
        (hetero_centre_triplet_loss, triplet_by_loop(*batch, margin=0.3)),
    ):
        assert loss(*batch).item() == pytest.approx(expected, rel=1e-9, abs=1e-6)
        for other in ((features[order], labels[order], modalities[order]), (features, labels, 1 - modalities)):
            assert loss(*other).item() == pytest.approx(expected, rel=1e-9, abs=1e-6)
        values = features.clone().requires_grad_()
        loss(values, labels, modalities).backward()
        assert values.grad.isfinite().all()


@pytest.mark.parametrize("loss", [hetero_centre_loss, hetero_centre_triplet_loss])
def test_gradients_are_those_of_finite_differences(loss):
    features, labels, modalities = full_batch(12)
    assert torch.autograd.gradcheck(
        lambda values: loss(values, labels, modalities) + 0 * values.sum(), features.requires_grad_(), atol=1e-5
    )


def test_centres_that_meet_cost_nothing_and_have_a_finite_gradient():
    features, labels, modalities = torch.ones(8, 4, requires_grad=True), torch.arange(8) // 4, torch.arange(8) % 2
    hetero_centre_triplet_loss(features, labels, modalities, margin=0.0).backward()
    assert features.grad.isfinite().all()
    assert hetero_centre_loss(features, labels, modalities) == 0


@pytest.mark.parametrize("loss", [hetero_centre_loss, hetero_centre_triplet_loss])
def test_an_optimiser_brings_them_down(loss):
    features, labels, modalities = full_batch(dtype=torch.float32)
    first, last = falls_by_its_gradient(lambda values: loss(values, labels, modalities), features)
    assert last < 0.05 * first


def test_half_precision_features_are_averaged_in_float32():
    features, labels, modalities = full_batch(dtype=torch.float32)
    half = features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        for loss in (hetero_centre_loss, hetero_centre_triplet_loss):
            assert torch.equal(loss(half, labels, modalities), loss(half.float(), labels, modalities))
