"""The release's ranking loss against a slow loop, and how it differs from the published one."""

import math

import pytest
import torch
from hypothesis import given
from test_metric import ACROSS, SAME, batches, distance, unit

from crossreid.losses.metric import modality_aware_ranking_loss
from crossreid.losses.released_ranking import released_ranking_loss


def by_loop(features, labels, modalities):
    rows = [unit(row) for row in features.tolist()]
    labels, modalities = labels.tolist(), modalities.tolist()
    total = 0.0
    for same, (boundary, margin) in ((True, SAME), (False, ACROSS)):
        for i, one in enumerate(rows):
            pulls, pushes, weights = [], [], []
            for j, two in enumerate(rows):
                if i == j or (modalities[i] == modalities[j]) != same:
                    continue
                d = distance(one, two)
                if labels[i] == labels[j]:
                    pulls.append(max(d - (boundary - margin), 0))
                elif d < boundary:
                    weights.append(math.exp(boundary - d))
                    pushes.append(weights[-1] * (boundary - d))
            total += sum(pulls) / (len(pulls) + 1e-5) + sum(pushes) / (sum(weights) + 1e-5)
    return total / len(rows)


def released(features, labels, modalities):
    return modality_aware_ranking_loss(features, labels, modalities, ranked=released_ranking_loss)


@given(batches())
def test_it_is_the_releases_loop(batch):
    assert float(released(*batch)) == pytest.approx(by_loop(*batch), abs=2e-4)


@given(batches())
def test_values_and_gradients_are_finite(batch):
    features = batch[0].float().requires_grad_()
    released(features, *batch[1:]).backward()
    assert torch.isfinite(features.grad).all()


def test_the_gradient_goes_through_the_weights():
    near = torch.tensor([[0.3, 0.9, 1.5]], dtype=torch.float64, requires_grad=True)
    positives, negatives = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    assert torch.autograd.gradcheck(
        lambda d: released_ranking_loss(d, positives, negatives, boundary=2.0, margin=1.0), near
    )


def test_pull_fades_as_positives_come_near():
    distances = torch.tensor([[1.5, 0.1, 0.1, 0.1]])
    positives, negatives = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    value = released_ranking_loss(distances, positives, negatives, boundary=2.0, margin=1.0)
    assert float(value) == pytest.approx(0.5 / 4, rel=1e-4)
