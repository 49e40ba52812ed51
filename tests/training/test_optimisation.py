import pytest
import torch
from pydantic import ValidationError
from torch import nn

from crossreid.training.optimisation import (
    OptimiserOptions,
    ScheduleOptions,
    make_optimiser,
    optimiser_tensors,
    rate_factor,
    restore_optimiser,
    set_rates,
)


def factors(options, epochs=10, steps=4):
    return [rate_factor(options, step, steps_per_epoch=steps, epochs=epochs) for step in range(epochs * steps)]


def test_warm_up_is_a_line_from_its_start_to_one():
    rates = factors(ScheduleOptions(kind="constant", warmup_epochs=2, warmup_start=0.01))
    assert rates[0] == 0.01
    assert rates[4] == pytest.approx((0.01 + 1) / 2)
    assert rates[8:] == [1.0] * 32


def test_steps_fall_at_their_milestones():
    rates = factors(ScheduleOptions(kind="step", milestones=(3, 6), factor=0.1))
    assert rates[:12] == [1.0] * 12
    assert rates[12:24] == pytest.approx([0.1] * 12)
    assert rates[24:] == pytest.approx([0.01] * 16)


def test_cosine_goes_from_one_towards_zero():
    rates = factors(ScheduleOptions(kind="cosine"))
    assert rates[0] == 1.0
    assert rates[20] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.01
    assert rates == sorted(rates, reverse=True)


def test_new_layers_learn_at_a_rate_of_their_own():
    class Method(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head, self.fixed = (
                nn.Linear(2, 2),
                nn.Linear(2, 2),
                nn.Linear(2, 2).requires_grad_(False),
            )

        @property
        def encoders(self):
            return [self.encoder]

    method = Method()
    optimiser = make_optimiser(method, OptimiserOptions(name="sgd", lr=0.1, new_layers_factor=10, weight_decay=0))
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert rates[id(method.encoder.weight)] == 0.1
    assert rates[id(method.head.weight)] == pytest.approx(1.0)
    assert id(method.fixed.weight) not in rates


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_names(name, kind):
    assert type(make_optimiser(nn.Linear(2, 2), OptimiserOptions(name=name))) is kind


def test_rates_are_set_from_the_first_ones():
    layer = nn.Linear(2, 2)
    optimiser = torch.optim.SGD([{"params": [layer.weight], "lr": 0.1}, {"params": [layer.bias], "lr": 1.0}])
    for factor in (0.5, 0.25):
        set_rates(optimiser, factor)
    assert [group["lr"] for group in optimiser.param_groups] == [0.1 * 0.25, 0.25]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)])
def test_an_optimiser_goes_on_where_it_was(kind):
    def step(layer, optimiser, seed):
        torch.manual_seed(seed)
        optimiser.zero_grad()
        layer(torch.randn(5, 3)).pow(2).sum().backward()
        optimiser.step()

    layer = nn.Linear(3, 2)
    optimiser = kind(layer.parameters())
    step(layer, optimiser, 1)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(layer.state_dict())
    other = kind(twin.parameters())
    tensors, groups = optimiser_tensors(optimiser)
    restore_optimiser(other, {name: tensor.clone() for name, tensor in tensors.items()}, groups)
    step(layer, optimiser, 2)
    step(twin, other, 2)
    assert torch.equal(layer.weight, twin.weight)


def by_epoch(rates, steps=4):
    """The rate of each epoch; it is constant within one."""
    assert all(rates[i] == rates[i // steps * steps] for i in range(len(rates)))
    return rates[::steps]


def test_a_rate_by_epoch_is_constant_within_it_and_warms_up_to_the_epochs_end():
    rates = factors(
        ScheduleOptions(warmup_epochs=3, warmup_start=0.1, advance="epoch", milestones=(5,), factor=0.1), epochs=7
    )
    assert by_epoch(rates) == pytest.approx([0.4, 0.7, 1.0, 1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_a_rate_by_epoch_never_exceeds_the_full_one(kind):
    options = ScheduleOptions(kind=kind, warmup_epochs=1.5, warmup_start=0.1, advance="epoch")
    assert max(factors(options, epochs=3)) == 1.0


def test_variational_distillations_rates_are_the_releases():
    """lr (0.01 (1 - t/10) + t/10) for t = e + 1 below 10, then lr, a tenth of it once t >= 210."""
    options = ScheduleOptions(warmup_epochs=10, warmup_start=0.01, advance="epoch", milestones=(209,))
    rates = by_epoch(factors(options, epochs=600, steps=24), 24)
    expected = [0.01 * (1 - t / 10) + t / 10 for t in range(1, 10)] + [1.0] * 200 + [0.1] * 391
    assert rates == pytest.approx(expected)
    assert rates[:2] == pytest.approx([0.109, 0.208])


def test_agws_rates_are_the_releases():
    options = ScheduleOptions(warmup_epochs=10, warmup_start=0, advance="epoch", milestones=(20, 50))
    rates = by_epoch(factors(options, epochs=81))
    assert rates == pytest.approx([(e + 1) / 10 for e in range(10)] + [1.0] * 10 + [0.1] * 30 + [0.01] * 31)


def test_idkls_and_the_views_rates_are_the_releases():
    """Each falls tenfold after the epoch that the milestone counts to."""
    for milestones, epochs in (((55, 95), 160), ((100, 200), 300), ((200, 250), 300), ((300, 450), 500)):
        rates = by_epoch(factors(ScheduleOptions(milestones=milestones), epochs=epochs))
        assert rates == pytest.approx([0.1 ** sum(e >= m for m in milestones) for e in range(epochs)])


def test_warm_up_and_milestones_may_be_given_in_steps():
    in_epochs = ScheduleOptions(warmup_epochs=2, warmup_start=0.1, milestones=(3, 6))
    in_steps = ScheduleOptions(warmup_steps=8, warmup_start=0.1, milestone_steps=(12, 24))
    assert factors(in_steps) == factors(in_epochs)
    between = factors(ScheduleOptions(milestone_steps=(13,)))
    assert between[:13] == [1.0] * 13
    assert between[13:] == [0.1] * 27
    by_epoch_end = factors(ScheduleOptions(milestone_steps=(13,), advance="epoch"))
    assert by_epoch(by_epoch_end)[:5] == [1.0, 1.0, 1.0, 1.0, 0.1]


def test_one_unit_each():
    with pytest.raises(ValidationError, match="warmup_epochs and warmup_steps: expected one"):
        ScheduleOptions(warmup_epochs=1, warmup_steps=10)
    with pytest.raises(ValidationError, match="milestones and milestone_steps: expected one"):
        ScheduleOptions(milestones=(1,), milestone_steps=(10,))


def test_nesterov_is_of_sgd():
    options = OptimiserOptions(name="sgd", nesterov=True)
    assert make_optimiser(nn.Linear(2, 2), options).defaults["nesterov"]
    assert not make_optimiser(nn.Linear(2, 2), OptimiserOptions(name="sgd")).defaults["nesterov"]
    for wrong in ({"name": "adam"}, {"name": "sgd", "momentum": 0}):
        with pytest.raises(ValueError, match="nesterov is true, expected name sgd"):
            OptimiserOptions(nesterov=True, **wrong)
