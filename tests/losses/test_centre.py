"""Centre loss: equation 2 and the rule of equation 4, step after step, against plain lists."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.losses.centre import CentreLoss
from labelled_batches import batches, falls_by_its_gradient

CLASSES = 5


@given(st.lists(batches(dtype=torch.float32), min_size=1, max_size=4), st.sampled_from([0.1, 0.5, 1.0]))
@settings(deadline=None, max_examples=40)
def test_loss_and_centres_are_the_papers_over_several_batches(course, rate):
    loss = CentreLoss(5, CLASSES, rate=rate)
    centres: dict[int, np.ndarray] = {}
    for features, labels, _ in course:
        rows = torch.nn.functional.pad(features, (0, 5 - features.shape[1]))
        members: dict[int, list[np.ndarray]] = {}
        for row, label in zip(rows.double().numpy(), labels.tolist(), strict=True):
            members.setdefault(label, []).append(row)
        for label, own in members.items():
            centres.setdefault(label, np.mean(own, axis=0))
        expected = sum(((row - centres[label]) ** 2).sum() for label, own in members.items() for row in own)
        assert loss(rows, labels).item() == pytest.approx(expected / (2 * len(labels)), rel=1e-4, abs=1e-6)
        for label, own in members.items():
            centres[label] = centres[label] + rate * sum(row - centres[label] for row in own) / (1 + len(own))
    for label in range(CLASSES):
        assert bool(loss.seen[label]) == (label in centres)
        np.testing.assert_allclose(loss.centres[label].numpy(), centres.get(label, np.zeros(5)), rtol=1e-4, atol=1e-5)


def test_its_gradient_is_the_difference_to_the_centre_as_in_equation_3():
    loss = CentreLoss(3, 4)
    features, labels = torch.randn(6, 3), torch.tensor([0, 0, 1, 2, 2, 2])
    loss(features, labels)
    centres = loss.centres.clone()
    moved = (features + 1).requires_grad_()
    loss(moved, labels).backward()
    torch.testing.assert_close(moved.grad, (moved.detach() - centres[labels]) / 6)


def test_without_training_no_centre_moves():
    loss = CentreLoss(3, 4)
    loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 2]))
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    loss.eval()
    loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 3]))
    assert all(torch.equal(before[name], tensor) for name, tensor in loss.state_dict().items())
    assert before.keys() == {"centres", "seen"}
    assert not list(loss.parameters())


def test_an_optimiser_draws_features_together():
    loss, labels = CentreLoss(6, 4), torch.arange(8) // 2
    first, last = falls_by_its_gradient(lambda values: loss(values, labels), torch.randn(8, 6))
    assert last < 0.05 * first
