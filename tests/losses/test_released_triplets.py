"""The released triplet losses: by a loop in tests/parity; here what holds for any features."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from crossreid.losses.released_triplets import (
    released_sides,
    released_weighted_triplet_loss,
    squared_difference_triplet_loss,
)

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def features(seed, scale=1.0):
    return scale * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 50))
def test_the_order_of_rows_does_not_matter(seed):
    rows, order = features(seed), torch.tensor([3, 0, 5, 1, 4, 2])
    for loss in (released_weighted_triplet_loss, squared_difference_triplet_loss):
        torch.testing.assert_close(loss(rows, LABELS), loss(rows[order], LABELS[order]), rtol=1e-4, atol=1e-4)


def test_the_anchor_is_among_its_positives():
    rows = features(0)
    positive, _ = released_sides(rows, LABELS)
    apart = torch.linalg.vector_norm(rows[0] - rows[1])
    weight = torch.exp(apart) / (torch.exp(apart) + 1)
    torch.testing.assert_close(positive[0], weight * apart, rtol=1e-4, atol=1e-5)


def test_differences_are_cut_and_gradients_finite_at_any_distance():
    for scale in (0.0, 1.0, 1e3):
        rows = features(1, scale).requires_grad_()
        loss = squared_difference_triplet_loss(rows, LABELS)
        loss.backward()
        assert 0 <= float(loss.detach()) <= 88.01
        assert rows.grad.isfinite().all()
