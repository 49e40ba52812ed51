"""The metric losses against slow loops written from their equations, and by property."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.losses.metric import (
    euclidean_distances,
    modality_aware_ranking_loss,
    ranking_loss,
    triplet_loss,
    weighted_triplet_loss,
)

SAME, ACROSS = (2.2, 0.9), (2.0, 1.0)


@st.composite
def batches(draw, least=1):
    """Features `(B, D)` float64, labels and modalities `(B,)` of any composition."""
    size = draw(st.integers(least, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    features = torch.randn(size, draw(st.integers(2, 5)), generator=generator, dtype=torch.float64)
    labels = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    modalities = torch.tensor(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    return features, labels, modalities


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def unit(row):
    norm = math.sqrt(sum(x * x for x in row))
    return [x / norm for x in row]


def ranked_list_by_loop(features, labels, modalities, same=SAME, across=ACROSS):
    """Wang et al., CVPR 2019, equations 3 to 8, once for pairs of one modality and once for pairs of two."""
    rows = [unit(row) for row in features.tolist()]
    labels, modalities = labels.tolist(), modalities.tolist()
    total = 0.0
    for wanted, (boundary, margin) in ((True, same), (False, across)):
        for i in range(len(rows)):
            pulls, pushes, weights = [], [], []
            for j in range(len(rows)):
                if i == j or (modalities[i] == modalities[j]) != wanted:
                    continue
                d = distance(rows[i], rows[j])
                if labels[i] == labels[j] and d > boundary - margin:
                    pulls.append(d - (boundary - margin))
                if labels[i] != labels[j] and d < boundary:
                    weights.append(math.exp(boundary - d))
                    pushes.append(boundary - d)
            if pulls:
                total += sum(pulls) / len(pulls) / len(rows)
            if pushes:
                total += sum(w * p for w, p in zip(weights, pushes, strict=True)) / sum(weights) / len(rows)
    return total


def batch_hard_by_loop(features, labels, margin):
    """Hermans et al., 2017, equation 5, over the anchors that have a positive and a negative."""
    rows, labels = features.tolist(), labels.tolist()
    terms = []
    for i in range(len(rows)):
        positives = [distance(rows[i], rows[j]) for j in range(len(rows)) if j != i and labels[j] == labels[i]]
        negatives = [distance(rows[i], rows[j]) for j in range(len(rows)) if labels[j] != labels[i]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            terms.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return sum(terms) / len(terms) if terms else 0.0


@given(batches())
def test_ranking_loss_is_the_equation(batch):
    assert float(modality_aware_ranking_loss(*batch)) == pytest.approx(ranked_list_by_loop(*batch), abs=2e-4)


@given(batches())
def test_other_margins_and_boundaries(batch):
    same, across = (1.2, 0.4), (0.9, 0.3)
    loss = modality_aware_ranking_loss(*batch, same=same, across=across)
    assert float(loss) == pytest.approx(ranked_list_by_loop(*batch, same, across), abs=2e-4)


@given(batches(), st.sampled_from([None, 0.3, 1.0]))
def test_triplet_loss_is_the_equation(batch, margin):
    features, labels, _ = batch
    assert float(triplet_loss(features, labels, margin=margin)) == pytest.approx(
        batch_hard_by_loop(features, labels, margin), abs=2e-4
    )


@given(batches(), st.randoms(use_true_random=False))
def test_order_of_the_batch_is_irrelevant(batch, random):
    order = list(range(len(batch[1])))
    random.shuffle(order)
    features, labels, _ = batch
    shuffled = [None if part is None else part[order] for part in batch]
    torch.testing.assert_close(modality_aware_ranking_loss(*shuffled), modality_aware_ranking_loss(*batch))
    torch.testing.assert_close(triplet_loss(*shuffled[:2]), triplet_loss(features, labels))


@given(batches(), st.floats(0.01, 100))
def test_ranking_loss_does_not_see_the_scale_of_features(batch, scale):
    features, labels, modalities = batch
    scaled = modality_aware_ranking_loss(features * scale, labels, modalities)
    torch.testing.assert_close(scaled, modality_aware_ranking_loss(*batch), atol=5e-4, rtol=1e-4)


@given(batches(), st.sampled_from(["as drawn", "one identity", "all different", "one point", "one modality"]))
def test_any_composition_gives_finite_values_and_gradients(batch, kind):
    features, labels, modalities = batch
    features = features.float()
    if kind == "one identity":
        labels = torch.zeros_like(labels)
    elif kind == "all different":
        labels = torch.arange(len(labels))
    elif kind == "one point":
        features = features[:1].repeat(len(labels), 1)
    elif kind == "one modality":
        modalities = torch.zeros_like(modalities)
    features = features.clone().requires_grad_()
    loss = modality_aware_ranking_loss(features, labels, modalities)
    loss = loss + triplet_loss(features, labels) + triplet_loss(features, labels, margin=0.3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()


def test_one_sample_costs_nothing():
    one = torch.randn(1, 4), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    assert float(modality_aware_ranking_loss(*one)) == 0
    assert float(triplet_loss(*one[:2])) == 0


def test_hard_negatives_weigh_more_but_their_weights_carry_no_gradient():
    distances = torch.tensor([[0.5, 1.5]], requires_grad=True)
    none, both = torch.tensor([[False, False]]), torch.tensor([[True, True]])
    ranking_loss(distances, none, both, boundary=2.0, margin=1.0).backward()
    heavy, light = math.exp(1.5), math.exp(0.5)
    expected = torch.tensor([[-heavy, -light]]) / (heavy + light)
    torch.testing.assert_close(distances.grad, expected)


def test_across_pairs_are_held_to_their_own_margin():
    """One identity, one image a modality, 1.2 apart: within 2.2 - 0.9 for a modality, beyond 2.0 - 1.0 across."""
    angle = 2 * math.asin(0.6)
    features = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    labels = torch.zeros(2, dtype=torch.int64)
    assert float(modality_aware_ranking_loss(features, labels, torch.tensor([0, 0]))) == 0
    assert float(modality_aware_ranking_loss(features, labels, torch.tensor([0, 1]))) == pytest.approx(0.2, abs=1e-5)


def test_a_margin_that_leaves_no_room_is_refused():
    mask = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="0 < margin < boundary"):
        ranking_loss(torch.ones(1, 1), mask, mask, boundary=1.0, margin=1.0)


@settings(max_examples=25)
@given(batches(least=2))
def test_distances_are_exact_inside_reduced_precision_training(batch):
    features = batch[0].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances = euclidean_distances(features, features)
    assert distances.dtype == torch.float32
    expected = torch.tensor([[distance(a, b) for b in features.tolist()] for a in features.tolist()])
    torch.testing.assert_close(distances, expected, atol=3e-3, rtol=1e-4)


def test_gradient_is_the_numerical_one():
    torch.manual_seed(0)
    features = torch.randn(6, 3)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    leaf = features.clone().requires_grad_()
    loss = triplet_loss(leaf, labels)
    loss.backward()
    for i, j in [(0, 0), (2, 1), (5, 2)]:
        step = torch.zeros_like(features)
        step[i, j] = 1e-4
        up, down = (batch_hard_by_loop((features + s).double(), labels, None) for s in (step, -step))
        assert float(leaf.grad[i, j]) == pytest.approx((up - down) / 2e-4, abs=1e-2)


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(0.1, 30))
@settings(max_examples=25, deadline=None)
def test_weighted_triplets_are_what_a_loop_gives(count, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(count, 4, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    terms = []
    for i in range(count):
        distances = [float((features[i] - features[j]).norm()) for j in range(count)]
        near = np.array([distances[j] for j in range(count) if j != i and labels[j] == labels[i]])
        far = np.array([distances[j] for j in range(count) if labels[j] != labels[i]])
        if len(near) and len(far):
            pull = (near * np.exp(near - near.max())).sum() / np.exp(near - near.max()).sum()
            push = (far * np.exp(far.min() - far)).sum() / np.exp(far.min() - far).sum()
            terms.append(np.logaddexp(0, pull - push))
    expected = np.mean(terms) if terms else 0.0
    given_ = features.clone().requires_grad_()
    found = weighted_triplet_loss(given_, labels)
    assert found.item() == pytest.approx(expected, rel=2e-3, abs=2e-3)
    found.backward()
    assert bool(torch.isfinite(given_.grad).all())


def test_weighted_triplets_of_one_identity_are_nought_with_a_finite_gradient():
    features = torch.randn(4, 3, requires_grad=True)
    loss = weighted_triplet_loss(features, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert bool((features.grad == 0).all())
