"""The bottleneck term: its value, and who is trained in which direction by it."""

import pytest
import torch
from pydantic import ValidationError
from test_three_branch import batch_of, method_of

from crossreid.losses.information import ESTIMATORS, MutualInformation
from crossreid.methods.information_bottleneck import InformationBottleneckOptions


def bound_of(method, name, batch):
    """The critic's bound on one branch's I(v; z), straight from its parts, with gradient to all."""
    rows = {"infrared": batch.modalities == 1, "visible": batch.modalities == 0}.get(name, slice(None))
    v, z = method.branches[name].encode(batch.images[rows])
    return MutualInformation(method.options.estimator).eval()(method.critics[name](v, z)).objective


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_the_encoder_lowers_what_the_critic_raises(estimator, weight):
    method, batch = method_of("information_bottleneck", estimator=estimator, weight=weight), batch_of()
    term = method.losses(batch)["bottleneck"]
    bounds = [bound_of(method, name, batch) for name in method.branches]
    assert term.item() == pytest.approx(weight * sum(b.item() for b in bounds), rel=1e-4, abs=1e-5)
    named = [(n, p) for n, p in method.named_parameters() if p.requires_grad and "classifier" not in n]
    parameters = [p for _, p in named]
    found = torch.autograd.grad(term, parameters)
    plain = torch.autograd.grad(sum(bounds), parameters)
    for (name, _), got, gradient in zip(named, found, plain, strict=True):
        factor = -1.0 if name.startswith("critics.") else weight
        torch.testing.assert_close(got, factor * gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_without_weight_only_critics_are_trained():
    method, batch = method_of("information_bottleneck", weight=0.0), batch_of()
    method.losses(batch)["bottleneck"].backward()
    for name, parameter in method.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved <= name.startswith("critics."), name


def test_each_branch_has_a_critic_of_its_own():
    method = method_of("information_bottleneck", branches="specific")
    assert set(method.critics) == {"infrared", "visible"}


def test_minimising_the_estimate_lowers_it():
    """Against a critic that goes on learning: with a large weight the estimate ends far below that without."""
    ends = {}
    for weight in (0.0, 20.0):
        method, batch = method_of("information_bottleneck", weight=weight, branches="shared").train(), batch_of()
        optimiser = torch.optim.Adam(method.parameters(), lr=2e-3)
        for _ in range(40):
            term = torch.stack(list(method.losses(batch).values())).sum()
            optimiser.zero_grad()
            term.backward()
            optimiser.step()
        ends[weight] = bound_of(method, "shared", batch).item()
    assert ends[20.0] < 0.5 * ends[0.0]


def test_averages_of_mine_travel_with_the_weights():
    method = method_of("information_bottleneck", estimator="mine").train()
    method.losses(batch_of())
    state = method.state_dict()
    assert torch.isfinite(state["estimators.shared.log_average"])


@pytest.mark.parametrize("wrong", [{"estimator": "ksg"}, {"weight": -1}, {"average_decay": 1.0}, {"self_weight": 1.0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        InformationBottleneckOptions(**wrong)
