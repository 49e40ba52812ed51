"""The losses in MindSpore against slow loops in numpy's float64, and against torch's, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mindspore.ops")  # this folder, too, goes by the name of the package alone

import mindspore
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from crossreid.data.composition import cross_modal_pairs
from crossreid.errors import CrossreidError
from crossreid.losses import distillation, metric, released_ranking, transport
from crossreid.mindspore import losses

few = settings(max_examples=8, deadline=None, derandomize=True)
rows, classes, seeds = st.integers(2, 7), st.integers(2, 6), st.integers(0, 1000)
temperatures = st.sampled_from([0.5, 1.0, 3.0])


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) / temperature)
    return powers / powers.sum(1, keepdims=True)


def drawn_logits(n: int, c: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 3, size=(2, n, c)).astype(np.float32)
    return first, second


def assert_alike(
    here: Callable[..., Any], there: Callable[..., Any], a: np.ndarray, b: np.ndarray, oracle: float | None = None
) -> None:
    """Value and gradients of both arguments, to 1e-4; the value also against the oracle."""
    value, found = mindspore.value_and_grad(here, (0, 1))(Tensor(a), Tensor(b))
    seen = [torch.from_numpy(given.copy()).requires_grad_() for given in (a, b)]
    wanted = there(*seen)
    wanted.backward()
    assert float(value.asnumpy()) == pytest.approx(float(wanted.detach()), rel=1e-4, abs=1e-5)
    if oracle is not None:
        assert float(value.asnumpy()) == pytest.approx(oracle, rel=1e-4, abs=1e-5)
    for mine, other in zip(found, seen, strict=True):
        theirs = np.zeros_like(mine.asnumpy()) if other.grad is None else other.grad.numpy()
        np.testing.assert_allclose(mine.asnumpy(), theirs, rtol=1e-3, atol=1e-5)


@few
@given(rows, classes, seeds, temperatures)
def test_kl_and_mutual_learning(n: int, c: int, seed: int, temperature: float) -> None:
    a, b = drawn_logits(n, c, seed)
    p, q = probabilities(a, temperature), probabilities(b, temperature)
    forth, back = (p * np.log(p / q)).sum(1).mean(), (q * np.log(q / p)).sum(1).mean()
    for name, oracle in (("kl_divergence", forth), ("mutual_learning", forth + back)):
        here, there = getattr(losses, name), getattr(distillation, name)
        assert_alike(
            lambda x, y, f=here: f(x, y, temperature=temperature),
            lambda x, y, f=there: f(x, y, temperature=temperature),
            a,
            b,
            oracle,
        )


@few
@given(rows, classes, seeds, temperatures)
def test_js_is_symmetric_and_bounded(n: int, c: int, seed: int, temperature: float) -> None:
    a, b = drawn_logits(n, c, seed)
    p, q = probabilities(a, temperature), probabilities(b, temperature)
    oracle = 0.5 * sum((x * np.log(2 * x / (p + q))).sum(1).mean() for x in (p, q))
    assert -1e-6 <= oracle <= math.log(2) + 1e-6
    assert_alike(
        lambda x, y: losses.js_divergence(x, y, temperature=temperature),
        lambda x, y: distillation.js_divergence(x, y, temperature=temperature),
        a,
        b,
        oracle,
    )
    turned = losses.js_divergence(Tensor(b), Tensor(a), temperature=temperature)
    assert float(turned.asnumpy()) == pytest.approx(oracle, rel=1e-4, abs=1e-5)


@few
@given(rows, classes, seeds)
def test_release_divergence(n: int, c: int, seed: int) -> None:
    a, b = drawn_logits(n, c, seed)
    p, q = probabilities(a), probabilities(b)
    oracle = (q * (np.log(q) - p)).mean()
    assert_alike(losses.release_divergence, distillation.release_divergence, a, b, oracle)


@few
@given(rows, classes, seeds, st.sampled_from([0.0, 0.1, 0.6]))
def test_cross_entropy_smooths_labels(n: int, c: int, seed: int, smoothing: float) -> None:
    logits, _ = drawn_logits(n, c, seed)
    labels = np.random.default_rng(seed).integers(0, c, size=n)
    log_p = np.log(probabilities(logits))
    oracle = -np.mean([(1 - smoothing) * row[y] + smoothing * row.mean() for row, y in zip(log_p, labels, strict=True)])
    found = losses.cross_entropy(Tensor(logits), Tensor(labels), smoothing=smoothing)
    assert float(found.asnumpy()) == pytest.approx(oracle, rel=1e-4, abs=1e-5)


@settings(few, max_examples=3)
@given(st.integers(2, 4), st.integers(2, 4), classes, seeds)
def test_sinkhorn_stops_where_torch_stops(n: int, m: int, c: int, seed: int) -> None:
    a, b = (probabilities(drawn_logits(k, c, seed + k)[0]).astype(np.float32) for k in (n, m))
    assert_alike(losses.sinkhorn_distance, transport.sinkhorn_distance, a, b)


def slow_ranking(
    distances: np.ndarray, positive: np.ndarray, negative: np.ndarray, boundary: float, margin: float
) -> float:
    total = 0.0
    for row, is_positive, is_negative in zip(distances.astype(np.float64), positive, negative, strict=True):
        pulled = [d - (boundary - margin) for d, p in zip(row, is_positive, strict=True) if p and d > boundary - margin]
        pushed = [boundary - d for d, n in zip(row, is_negative, strict=True) if n and d < boundary]
        weights = np.exp(pushed)
        total += np.mean(pulled) if pulled else 0.0
        total += (weights * pushed).sum() / weights.sum() if pushed else 0.0
    return total / len(distances)


@few
@given(rows, seeds)
def test_ranking_losses_of_distances(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 3, size=(n, n + 1)).astype(np.float32)
    positive = rng.random(distances.shape) < 0.4
    negative = ~positive & (rng.random(distances.shape) < 0.8)
    given = {"boundary": 2.2, "margin": 0.9}
    masks = [Tensor(mask.astype(np.float32)) for mask in (positive, negative)]
    in_torch = [torch.from_numpy(mask) for mask in (positive, negative)]
    released = released_ranking.released_ranking_loss
    for here, there in ((losses.ranking_loss, metric.ranking_loss), (losses.released_ranking_loss, released)):
        value, gradient = mindspore.value_and_grad(lambda d, f=here: f(d, *masks, **given))(Tensor(distances))
        seen = torch.from_numpy(distances.copy()).requires_grad_()
        wanted = there(seen, *in_torch, **given)
        wanted.backward()
        assert float(value.asnumpy()) == pytest.approx(float(wanted.detach()), rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(gradient.asnumpy(), seen.grad.numpy(), rtol=1e-3, atol=1e-5)
    found = float(losses.ranking_loss(Tensor(distances), *masks, **given).asnumpy())
    assert found == pytest.approx(slow_ranking(distances, positive, negative, 2.2, 0.9), rel=1e-4, abs=1e-5)


@few
@given(st.integers(3, 9), seeds)
def test_modality_aware_ranking(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 5)).astype(np.float32)
    labels, modalities = rng.integers(0, 3, size=n), rng.integers(0, 2, size=n)
    found, moved = mindspore.value_and_grad(lambda f: losses.modality_aware_ranking_loss(f, labels, modalities))(
        Tensor(features)
    )
    seen = torch.from_numpy(features.copy()).requires_grad_()
    wanted = metric.modality_aware_ranking_loss(seen, torch.from_numpy(labels), torch.from_numpy(modalities))
    wanted.backward()
    assert float(found.asnumpy()) == pytest.approx(float(wanted.detach()), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(moved.asnumpy(), seen.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_pairs_across_modalities_are_torchs() -> None:
    labels, modalities = np.array([0, 0, 1, 1, 0, 2]), np.array([0, 1, 0, 1, 1, 0])
    wanted = cross_modal_pairs(torch.from_numpy(labels), torch.from_numpy(modalities))
    found = losses.cross_modal_pairs(labels, modalities)
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted] == [[0, 0, 2], [1, 4, 3]]
    with pytest.raises(CrossreidError, match="no identity in both modalities"):
        losses.cross_modal_pairs(labels, np.zeros(6, dtype=np.int64))


def test_a_row_of_zeros_stays_one_and_has_a_gradient() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    unit, gradient = losses.normalised(Tensor(rows)), mindspore.grad(lambda x: losses.normalised(x).sum())(Tensor(rows))
    np.testing.assert_allclose(unit.asnumpy(), [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert np.isfinite(gradient.asnumpy()).all()
