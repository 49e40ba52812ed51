"""Divergences against slow loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from crossreid.data.composition import cross_modal_pairs
from crossreid.losses.distillation import (
    distance_preservation,
    distilled_knowledge,
    js_divergence,
    kl_divergence,
    mutual_learning,
    release_divergence,
)


@st.composite
def logit_pairs(draw):
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.01, 1.0, 8.0]))
    return scale * torch.randn(2, rows, classes, generator=generator)


def probabilities(logits, temperature=1.0):
    rows = np.asarray(logits, dtype=np.float64) / temperature
    rows = np.exp(rows - rows.max(1, keepdims=True))
    return rows / rows.sum(1, keepdims=True)


@given(logit_pairs(), st.sampled_from([0.5, 1.0, 4.0]))
def test_kl_is_the_definition(pair, temperature):
    p, q = probabilities(pair[0], temperature), probabilities(pair[1], temperature)
    expected = np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)])
    assert float(kl_divergence(*pair, temperature=temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(logit_pairs(), st.sampled_from([0.5, 1.0, 4.0]))
def test_js_is_the_definition(pair, temperature):
    p, q = probabilities(pair[0], temperature), probabilities(pair[1], temperature)
    expected = np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)])
    assert float(js_divergence(*pair, temperature=temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(logit_pairs())
def test_kl_is_nonnegative_and_zero_for_equal_predictions_only(pair):
    assert float(kl_divergence(*pair)) >= -1e-6
    assert float(kl_divergence(pair[0], pair[0] + 3.0)) == pytest.approx(0, abs=1e-6)
    if np.abs(probabilities(pair[0]) - probabilities(pair[1])).max() > 0.05:
        assert float(kl_divergence(*pair)) > 1e-4


@given(logit_pairs())
def test_js_is_symmetric_and_bounded(pair):
    value = float(js_divergence(*pair))
    assert -1e-6 <= value <= math.log(2) + 1e-6
    assert float(js_divergence(pair[1], pair[0])) == pytest.approx(value, abs=1e-6)
    assert float(js_divergence(pair[0], pair[0])) == pytest.approx(0, abs=1e-6)


def test_js_reaches_its_bound_on_disjoint_predictions():
    p, q = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
    assert float(js_divergence(p, q)) == pytest.approx(math.log(2))


@given(logit_pairs(), st.randoms(use_true_random=False))
def test_order_of_rows_is_irrelevant(pair, random):
    order = list(range(pair.shape[1]))
    random.shuffle(order)
    for function in (kl_divergence, js_divergence, release_divergence, mutual_learning):
        torch.testing.assert_close(function(pair[0][order], pair[1][order]), function(*pair))


@pytest.mark.parametrize("function", [kl_divergence, js_divergence, release_divergence, mutual_learning])
def test_extreme_logits_keep_value_and_gradient_finite(function):
    p = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    q = torch.tensor([[-1e4, 1e4, 0.0], [50.0, 0.0, -50.0]], requires_grad=True)
    function(p, q).backward()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()


@given(logit_pairs())
def test_release_divergence_is_the_mistake_it_names(pair):
    p, q = probabilities(pair[0]), probabilities(pair[1])
    total = 0.0
    for i in range(p.shape[0]):
        for c in range(p.shape[1]):
            total += q[i, c] * (math.log(q[i, c]) - p[i, c]) if q[i, c] > 0 else 0.0
    assert float(release_divergence(*pair)) == pytest.approx(total / p.size, rel=1e-4, abs=1e-6)


def test_release_divergence_at_random_weights_is_what_the_release_printed():
    """395 identities, uniform predictions: VSD of two branches -0.030, VCD of halves -0.015."""
    uniform = torch.zeros(4, 395)
    one = float(release_divergence(uniform, uniform))
    assert round(2 * one, 3) == -0.030
    assert round(0.5 * one + 0.5 * one, 3) == -0.015


def test_release_divergence_moves_the_prediction_of_z_alone():
    v, z = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    release_divergence(v, z).backward()
    assert v.grad is None
    p, q = v.softmax(1).detach(), z.softmax(1).detach()
    inner = q.log() + 1 - p  # d of q (log q - p) by q, then through the softmax
    expected = q * (inner - (q * inner).sum(1, keepdim=True)) / p.numel()
    torch.testing.assert_close(z.grad, expected, atol=1e-7, rtol=1e-5)


@given(logit_pairs())
def test_mutual_learning_is_two_divergences_with_the_other_held_fixed(pair):
    a, b = pair[0].clone().requires_grad_(), pair[1].clone().requires_grad_()
    value = mutual_learning(a, b)
    p, q = probabilities(pair[0]), probabilities(pair[1])
    expected = np.mean([entropy(x, y) + entropy(y, x) for x, y in zip(p, q, strict=True)])
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    value.backward()
    # d/d(a) of KL(b || a), b fixed, is softmax(a) - softmax(b), averaged over rows.
    np.testing.assert_allclose(a.grad.numpy(), (p - q) / len(p), atol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), (q - p) / len(p), atol=1e-5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=10))
def test_cross_modal_pairs_are_all_pairs_of_an_identity(rows):
    labels, modalities = (torch.tensor(part) for part in zip(*rows, strict=True))
    expected = {
        (i, j)
        for i, (label, kind) in enumerate(rows)
        for j, (other, other_kind) in enumerate(rows)
        if label == other and kind == 0 and other_kind == 1
    }
    if not expected:
        with pytest.raises(ValueError, match="both modalities"):
            cross_modal_pairs(labels, modalities)
        return
    visible, infrared = cross_modal_pairs(labels, modalities)
    found = list(zip(visible.tolist(), infrared.tolist(), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected


def rows_of(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 10.0])
def test_distilled_knowledge_is_what_its_definition_says(temperature):
    told, own = rows_of(0, 5, 7) * 3, rows_of(1, 5, 7) * 3
    expected = 0.0
    for p_row, q_row in zip(told.double().numpy(), own.double().numpy(), strict=True):
        p, q = np.exp(p_row / temperature), np.exp(q_row / temperature)
        p, q = p / p.sum(), q / q.sum()
        expected += temperature**2 * (p * np.log(p / q)).sum() / 5
    assert distilled_knowledge(told, own, temperature=temperature).item() == pytest.approx(expected, rel=1e-4)


def test_at_a_high_temperature_the_gradient_is_that_of_matching_logits():
    """Hinton et al., 2015: tau^2 times the divergence tends to half the mean squared difference of centred logits."""
    told, own = rows_of(0, 4, 6), rows_of(1, 4, 6).requires_grad_()
    (found,) = torch.autograd.grad(distilled_knowledge(told, own, temperature=1000.0), own)
    difference = (own - own.mean(1, keepdim=True)) - (told - told.mean(1, keepdim=True))
    torch.testing.assert_close(found, difference.detach() / (4 * 6), atol=1e-3, rtol=1e-2)


def test_no_gradient_reaches_the_teacher():
    told, own = rows_of(0, 4, 6).requires_grad_(), rows_of(1, 4, 6).requires_grad_()
    (distilled_knowledge(told, own) + distance_preservation(told, own)).backward()
    assert told.grad is None
    assert own.grad.abs().sum() > 0


@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_distance_preservation_equals_a_loop_over_pairs(distance):
    told, own = rows_of(0, 6, 5), rows_of(1, 6, 3)

    def between(rows, i, j):
        a, b = rows[i].double(), rows[j].double()
        if distance == "cosine":
            a, b = a / a.norm(), b / b.norm()
        squared = float(((a - b) ** 2).sum())
        return squared**0.5 if distance == "euclidean" else squared

    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    expected = sum((between(told, i, j) - between(own, i, j)) ** 2 for i, j in pairs) / len(pairs)
    assert distance_preservation(told, own, distance=distance).item() == pytest.approx(expected, rel=1e-4)


@given(st.integers(2, 6), st.integers(0, 50))
def test_distances_do_not_change_under_rotation_or_shift(count, seed):
    rows = rows_of(seed, count, 4)
    turn, _ = torch.linalg.qr(rows_of(seed + 1, 4, 4))
    for distance in ("squared", "euclidean"):
        assert distance_preservation(rows, rows @ turn + 3, distance=distance).item() == pytest.approx(0, abs=1e-6)
    assert distance_preservation(rows, 2 * rows, distance="cosine").item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_equal_embeddings_have_a_finite_gradient(distance):
    own = torch.ones(3, 4, requires_grad=True)
    distance_preservation(rows_of(0, 3, 4), own, distance=distance).backward()
    assert own.grad.isfinite().all()


def test_distances_need_two_samples_on_both_sides():
    for told, own in ((1, 1), (3, 2)):
        with pytest.raises(ValueError, match="two or more"):
            distance_preservation(rows_of(0, told, 4), rows_of(1, own, 4))


def test_pairs_are_averaged_summed_or_halved_over_the_whole_matrix():
    teacher, student = rows_of(0, 5, 3), rows_of(1, 5, 4)
    apart = [((rows[:, None] - rows[None]) ** 2).sum(2) for rows in (teacher.double(), student.double())]
    squares = (apart[0] - apart[1]) ** 2
    expected = {"pairs": squares.sum() / 20, "sum": squares.sum() / 2, "matrix": squares.mean() / 2}
    for over, value in expected.items():
        assert float(distance_preservation(teacher, student, over=over)) == pytest.approx(float(value), rel=1e-5)
