import pytest
import torch
from pydantic import ValidationError
from torch import nn

from crossreid.training.optimisation import (
    OptimiserOptions,
    ScheduleOptions,
    full_rate,
    make_optimiser,
    optimiser_tensors,
    rate_factor,
    restore_optimiser,
    set_rates,
    settings_of,
    with_settings,
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


class Staged(nn.Module):
    """An encoder of three stages, a head and a layer that does not learn."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

        def leading_stages(self, count):
            return list(self.stages[:count])

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.encoder = nn.Linear(2, 2), self.Encoder()
        self.fixed = nn.Linear(2, 2).requires_grad_(False)

    @property
    def encoders(self):
        return [self.encoder]

    def forward(self, values):
        for stage in (*self.encoder.stages, self.head):
            values = stage(values).tanh()
        return values


def rates_of(method, optimiser):
    by_id = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    named = {"stem": method.encoder.stages[0], "stage1": method.encoder.stages[1], "stage2": method.encoder.stages[2]}
    assert id(method.fixed.weight) not in by_id
    return {name: by_id[id(part.weight)] for name, part in {**named, "heads": method.head}.items()}


def test_parts_learn_at_rates_of_their_own():
    method, sgd = Staged(), {"name": "sgd", "lr": 0.1, "weight_decay": 0}
    plain = make_optimiser(method, OptimiserOptions(**sgd))
    assert rates_of(method, plain) == dict.fromkeys(("stem", "stage1", "stage2", "heads"), 0.1)
    rates = {"stem": 0.01, "backbone": 0.5, "heads": 10}  # a stage's own comes before the whole's
    optimiser = make_optimiser(method, OptimiserOptions(**sgd, rates=rates))
    expected = {"stem": 0.001, "stage1": 0.05, "stage2": 0.05, "heads": 1.0}
    assert rates_of(method, optimiser) == pytest.approx(expected)
    set_rates(optimiser, 0.5)
    assert rates_of(method, optimiser) == pytest.approx({name: rate / 2 for name, rate in expected.items()})
    assert full_rate(optimiser) == pytest.approx(0.05)
    with pytest.raises(ValidationError, match="rates: 'neck' is not a part of a network; expected stem"):
        OptimiserOptions(rates={"neck": 1})
    with pytest.raises(ValidationError, match="rates: stem is 0, expected more than 0"):
        OptimiserOptions(rates={"stem": 0})


def test_the_factor_of_new_layers_is_the_rate_of_heads():
    assert OptimiserOptions(new_layers_factor=10) == OptimiserOptions(rates={"heads": 10})
    assert OptimiserOptions(new_layers_factor=1.0) == OptimiserOptions()
    assert OptimiserOptions(new_layers_factor=10, rates={"stem": 0.1}).rates == {"heads": 10, "stem": 0.1}
    with pytest.raises(
        ValidationError, match=r"new_layers_factor is the earlier form of rates\.heads, and both are given"
    ):
        OptimiserOptions(new_layers_factor=10, rates={"heads": 1})


def stepped(method, optimiser, seed):
    torch.manual_seed(seed)
    optimiser.zero_grad()
    method(torch.randn(5, 2)).pow(2).sum().backward()
    optimiser.step()


def test_an_optimisers_state_is_found_again_in_other_groups():
    begun, same, other = Staged(), Staged(), Staged()
    options = OptimiserOptions(rates={"heads": 2.0})
    optimiser = make_optimiser(begun, options)
    stepped(begun, optimiser, 1)
    tensors, groups = optimiser_tensors(optimiser)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    for twin in (same, other):
        twin.load_state_dict(begun.state_dict())
    # As earlier versions wrote it: two groups, which say neither factor nor positions.
    before = [{k: v for k, v in group.items() if k not in ("factor", "positions")} for group in groups]
    again = make_optimiser(same, options)
    restore_optimiser(again, dict(tensors), before)
    regrouped = make_optimiser(other, OptimiserOptions(rates={"stage2": 0.5, "stem": 0.1, "heads": 2.0}))
    assert len(regrouped.param_groups) == 4
    restore_optimiser(regrouped, tensors, with_settings(settings_of(regrouped)))
    moments = {id(p): row["exp_avg"] for p, row in optimiser.state.items()}
    for found, twin in ((again, same), (regrouped, other)):
        for mine, theirs in zip(begun.parameters(), twin.parameters(), strict=True):
            if mine.requires_grad:
                assert torch.equal(found.state[theirs]["exp_avg"], moments[id(mine)])
    stepped(begun, optimiser, 2)
    stepped(same, again, 2)
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), same.parameters(), strict=True))
    assert optimiser_tensors(again)[1] == optimiser_tensors(optimiser)[1]


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
