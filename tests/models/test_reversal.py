"""A real reversal: forward nothing, backward the gradient turned round; and its course over training."""

import math

import pytest
import torch

from crossreid.models.reversal import reversal_strength, reverse_gradient


def test_forward_is_the_identity_and_backward_turns_the_gradient():
    values = torch.randn(3, 2, requires_grad=True)
    weights = torch.randn(3, 2)
    passed = reverse_gradient(values, 0.5)
    assert torch.equal(passed, values)
    (passed * weights).sum().backward()
    torch.testing.assert_close(values.grad, -0.5 * weights)


def test_a_classifier_behind_it_learns_while_what_feeds_it_forgets():
    torch.manual_seed(0)
    kinds = torch.arange(64) % 2
    images = torch.randn(64, 4) + kinds[:, None]
    feed, tell = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)
    loss = torch.nn.functional.cross_entropy
    before = float(loss(tell(feed(images)), kinds).detach())
    loss(tell(reverse_gradient(feed(images))), kinds).backward()
    with torch.no_grad():
        for parameter in feed.parameters():
            parameter -= 0.05 * parameter.grad
        assert float(loss(tell(feed(images)), kinds)) > before
        for parameter in feed.parameters():
            parameter += 0.05 * parameter.grad
        for parameter in tell.parameters():
            parameter -= 0.05 * parameter.grad
        assert float(loss(tell(feed(images)), kinds)) < before


@pytest.mark.parametrize(("schedule", "expected"), [
    ("constant", [2.0, 2.0, 2.0]),
    ("linear", [0.0, 1.0, 2.0]),
    ("sigmoid", [0.0, 2 * math.tanh(2.5), 2 * math.tanh(5.0)]),  # 2 / (1 + e^-x) - 1 = tanh(x / 2)
])  # fmt: skip
def test_schedules(schedule, expected):
    found = [reversal_strength(schedule, progress, largest=2.0) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_a_reversed_gradient_is_minus_factor_times_the_gradient(factor):
    leaf = torch.randn(4, requires_grad=True)
    value = reverse_gradient(leaf, factor)
    assert torch.equal(value, leaf)
    value.pow(2).sum().backward()
    torch.testing.assert_close(leaf.grad, -factor * 2 * leaf.detach())
