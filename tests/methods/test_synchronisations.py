"""No method's step asks the device for a value: rows are picked by what the host knows of a batch."""

import copy

import pytest
import torch
from lightning_fabric import Fabric

from crossreid.losses import transport
from method_cases import CASES, batch_of, method_of, total
from no_synchronisation import Synchronised, no_synchronisation

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_losses_and_their_gradient_wait_for_nothing(case, device):
    fabric = Fabric(accelerator=device, devices=1)
    method, batch = method_of(case).to(device), fabric.to_device(batch_of(case))
    if device == "cuda":
        total(method.losses(batch)).backward()  # libraries choose their algorithms once
    with no_synchronisation(device, moves=False):
        method.progress = 0.5
        total(method.losses(batch)).backward()


@pytest.mark.parametrize("case", ["agw", "vd paper", "vd two streams", "idkl", "idkl official", "vkd by modality"])
def test_a_batch_without_its_composition_gives_the_same(case):
    found = []
    for composed in (True, False):
        method = method_of(case)
        torch.manual_seed(3)
        with torch.no_grad():
            found.append(method.losses(batch_of(case, composed=composed)))
    assert list(found[0]) == list(found[1])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.round().long().bincount(),
        lambda x: torch.equal(x, x),
        lambda x: x + torch.tensor(1.0),
        lambda x: x.index_put((x > 0,), x.new_zeros(())),
        lambda x: torch.repeat_interleave(x, x.round().long()),
        lambda x: x.to("meta"),
    ],
)
def test_what_would_wait_is_seen(ask):
    values = torch.rand(4) + 0.5
    ask(values)
    with pytest.raises(Synchronised), no_synchronisation(moves=False):
        ask(values)


@pytest.mark.parametrize("stop", [0.1, 1e-9])
def test_transport_on_a_device_computes_all_rounds_and_asks_for_none(stop):
    """What `losses.transport` does on a GPU, here on a CPU: the same plan, potentials and gradient as by stopping early."""
    torch.manual_seed(0)
    cost = torch.cdist(*torch.randn(2, 6, 5).double().softmax(2).unbind()).square()
    early = transport._forward(cost, 0.01, 100, stop, 1e-6, 1e-8, True)
    with no_synchronisation(moves=False):
        late = transport._forward(cost, 0.01, 100, stop, 1e-6, 1e-8, False)
        gradient = transport._backward(torch.ones(()).double(), cost, *late[1:], 0.01, False)
    for one, other in zip(early, late, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=1e-12)
    expected = transport._backward(torch.ones(()).double(), cost, *early[1:], 0.01, True)
    torch.testing.assert_close(gradient, expected, atol=1e-14, rtol=1e-10)


def test_a_copy_of_a_method_has_a_reversal_of_its_own():
    """The averaged weights are a deep copy, whose step changes nothing here."""
    method = method_of("idkl paper")
    method.progress = 0.5
    other = copy.deepcopy(method)
    other.progress = 1.0
    assert 0 < float(method.strength) < float(other.strength)
    assert "strength" not in method.state_dict()
