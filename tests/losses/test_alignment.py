"""Losses of alignment against loops written from their equations, and their properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.data.composition import paired_rows
from crossreid.losses.alignment import (
    centre_distances,
    centre_reduction,
    class_alignment,
    entropies,
    entropy_reduction,
    graph_alignment,
    graph_divergence,
    pseudo_modalities,
    relation_graph,
)


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    powers = np.exp(row - np.max(row))
    return powers / powers.sum()


def graph_by_loop(a, b, diagonal):
    rows = []
    for i in range(len(a)):
        distances = [np.linalg.norm(a[i] - b[j]) for j in range(len(b)) if diagonal or i != j]
        rows.append(softmax(np.array(distances)))
    return rows


def kl_by_loop(p_rows, q_rows):
    total = 0.0
    for p, q in zip(p_rows, q_rows, strict=True):
        total += sum(x * (math.log(x) - math.log(y)) for x, y in zip(p, q, strict=True))
    return total / len(p_rows)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_tgsa_is_its_three_divergences(symmetric, diagonal):
    a, b = normal(5, 3, seed=1), normal(5, 3, seed=2)
    own, across, other = (graph_by_loop(x.numpy(), y.numpy(), diagonal) for x, y in ((a, a), (a, b), (b, b)))
    expected = 0.0
    for p, q in ((own, other), (own, across), (across, other)):
        expected += kl_by_loop(p, q) + (kl_by_loop(q, p) if symmetric else 0.0)
    found = graph_alignment(a, b, symmetric=symmetric, diagonal=diagonal)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_csa_is_a_divergence_of_predictions(symmetric):
    a, b = normal(4, 6, seed=3), normal(4, 6, seed=4)
    p, q = ([softmax(row) for row in side.numpy()] for side in (a, b))
    expected = kl_by_loop(p, q) + (kl_by_loop(q, p) if symmetric else 0.0)
    assert class_alignment(a, b, symmetric=symmetric).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(1, 7), st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_alignment_is_nought_of_what_is_alike_and_else_not_negative(count, seed, symmetric, diagonal):
    diagonal = diagonal or count < 2
    a, b = normal(count, 4, seed=seed), normal(count, 4, seed=seed + 1)
    assert graph_alignment(a, a, symmetric=symmetric, diagonal=diagonal).item() == pytest.approx(0, abs=1e-5)
    assert graph_alignment(a, b, symmetric=symmetric, diagonal=diagonal).item() >= -1e-6
    # Graphs are of distances: moving all of both samples together changes none.
    shift = normal(1, 4, seed=seed + 2)
    moved = graph_alignment(a + shift, b + shift, symmetric=symmetric, diagonal=diagonal)
    torch.testing.assert_close(
        moved, graph_alignment(a, b, symmetric=symmetric, diagonal=diagonal), atol=1e-4, rtol=1e-3
    )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    permuted = graph_alignment(a[order], b[order], symmetric=symmetric, diagonal=diagonal)
    torch.testing.assert_close(
        permuted, graph_alignment(a, b, symmetric=symmetric, diagonal=diagonal), atol=1e-4, rtol=1e-3
    )


def test_far_samples_weigh_most_in_a_graph():
    line = torch.tensor([[0.0], [1.0], [5.0]])
    graph = relation_graph(line, line).exp()
    torch.testing.assert_close(graph[0], torch.softmax(torch.tensor([0.0, 1.0, 5.0]), 0), atol=1e-5, rtol=1e-4)
    without = relation_graph(line, line, diagonal=False).exp()
    torch.testing.assert_close(without[1], torch.softmax(torch.tensor([1.0, 4.0]), 0), atol=1e-5, rtol=1e-4)


def test_a_stopped_side_has_no_gradient_and_the_other_does():
    a, b = normal(4, 3, seed=5).requires_grad_(), normal(4, 3, seed=6).requires_grad_()
    for loss in (graph_alignment, class_alignment):
        gradients = torch.autograd.grad(loss(a, b, stop_gradient=True), (a, b), allow_unused=True)
        assert gradients[0] is None
        assert gradients[1].abs().sum() > 0
        assert torch.autograd.grad(loss(a, b), a)[0].abs().sum() > 0


def test_equal_points_have_finite_gradients():
    a = torch.ones(4, 3, requires_grad=True)
    graph_alignment(a, a * 1.0).backward()
    assert bool(torch.isfinite(a.grad).all())


def test_entropy_reduction_by_loop():
    kept, whole = normal(5, 4, seed=7, scale=2.0), normal(5, 4, seed=8)
    terms = []
    for x, y in zip(kept.numpy(), whole.numpy(), strict=True):
        h = [-sum(p * math.log(p) for p in softmax(row)) for row in (x, y)]
        terms.append(math.log1p(math.exp(h[0] - h[1])))
    assert entropy_reduction(kept, whole).item() == pytest.approx(np.mean(terms), rel=1e-5)
    assert entropies(torch.zeros(1, 8)).item() == pytest.approx(math.log(8))
    whole = whole.requires_grad_()
    kept = kept.requires_grad_()
    assert torch.autograd.grad(entropy_reduction(kept, whole, stop_gradient=True), whole, allow_unused=True)[0] is None


def uneven():
    """Identity 0 has 3 visible and 1 infrared images, 1 has 1 and 2, 2 has visible ones alone, 4 infrared ones alone."""
    labels = torch.tensor([0, 0, 1, 0, 1, 2, 2, 0, 1, 4])
    modalities = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0, 1, 1])
    return labels, modalities


def test_centres_by_loop_of_an_uneven_batch():
    labels, modalities = uneven()
    reduced, normalised = normal(10, 3, seed=9), normal(10, 3, seed=10)

    def distances(features):
        found = []
        for identity in (0, 1):
            sides = [
                np.mean([f for f, y, m in zip(features.numpy(), labels, modalities, strict=True)
                         if y == identity and m == kind], axis=0)
                for kind in (0, 1)
            ]  # fmt: skip
            found.append(np.linalg.norm(sides[0] - sides[1]))
        return np.array(found)

    torch.testing.assert_close(
        centre_distances(reduced, labels, modalities).double(), torch.tensor(distances(reduced)), atol=1e-5, rtol=1e-5
    )
    expected = np.mean(np.log1p(np.exp(distances(reduced) - distances(normalised))))
    found = centre_reduction(reduced, normalised, labels, modalities)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_pairs_of_an_uneven_batch_have_every_image_and_one_identity_each():
    labels, modalities = uneven()
    visible, infrared = paired_rows(labels, modalities)
    assert visible.tolist() == [0, 1, 7, 4, 4]
    assert infrared.tolist() == [3, 3, 3, 2, 8]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=24))
@settings(max_examples=60, deadline=None)
def test_pairs_are_of_one_identity_and_leave_no_image_of_it_out(images):
    labels, modalities = (torch.tensor(part) for part in zip(*images, strict=True))
    both = {y for y, m in images if (y, 1 - m) in images}
    if not both:
        with pytest.raises(ValueError, match="no identity in both modalities"):
            paired_rows(labels, modalities)
        with pytest.raises(ValueError, match="no identity in both modalities"):
            centre_reduction(torch.ones(len(labels), 2), torch.ones(len(labels), 2), labels, modalities)
        return
    visible, infrared = paired_rows(labels, modalities)
    assert torch.equal(labels[visible], labels[infrared])
    assert not modalities[visible].any()
    assert bool(modalities[infrared].all())
    wanted = {i for i, (y, _) in enumerate(images) if y in both}
    assert set(visible.tolist()) | set(infrared.tolist()) == wanted
    expected = sum(max(images.count((y, 0)), images.count((y, 1))) for y in both)
    assert len(visible) == expected


def test_pairs_of_equal_numbers_are_every_image_once():
    labels = torch.tensor([3, 1, 3, 1, 1, 3, 3, 1])
    modalities = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    visible, infrared = paired_rows(labels, modalities)
    assert sorted(visible.tolist() + infrared.tolist()) == list(range(8))


def test_pseudo_modalities_are_half_wrong_where_modalities_take_turns():
    turns = torch.tensor([0, 1] * 6)
    told = pseudo_modalities(turns)
    # Worked out by hand: the first half 0 1 0 1 0 1, each twice, moved on by one.
    assert told.tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert (told == turns).sum() == 6
    assert len(pseudo_modalities(torch.tensor([0, 1, 1]))) == 3


def test_divergence_both_ways_is_the_sum():
    p, q = (
        relation_graph(normal(4, 2), normal(4, 2, seed=1)),
        relation_graph(normal(4, 2, seed=2), normal(4, 2, seed=3)),
    )
    torch.testing.assert_close(
        graph_divergence(p, q, symmetric=True), graph_divergence(p, q) + graph_divergence(q, p), atol=1e-6, rtol=1e-5
    )
