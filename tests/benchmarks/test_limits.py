import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmark_modules import benchmark


def test_work_is_that_of_the_definition(monkeypatch):
    left, right = torch.randn(4, 5, requires_grad=True), torch.randn(5, 6)
    with benchmark(monkeypatch, "limits") as limits:
        forward = limits.work_of(lambda: left.detach() @ right)
        both = limits.work_of(lambda: (left @ right).backward(torch.ones(4, 6)))
        views = limits.work_of(lambda: right.t().reshape(3, 10)[1:].unsqueeze(0).expand(2, 2, 10))
        in_place = limits.work_of(lambda: right.add_(1))
    assert (forward.flops, forward.operations) == (2 * 4 * 5 * 6, 1)
    assert forward.bytes == 4 * (4 * 5 + 5 * 6 + 4 * 6)
    assert both.flops == 2 * forward.flops  # the gradient of one of the two
    assert views.operations == 1, "the copy that reshape makes of a transposed matrix"
    assert (in_place.operations, in_place.bytes) == (1, 4 * 2 * 5 * 6)


def convolved():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1)
    )
    images = torch.randn(2, 3, 8, 6)
    return lambda: network(images).sum().backward()


def test_convolutions_count_as_torch_counts_them_also_where_nothing_is_computed(monkeypatch):
    with FlopCounterMode(display=False) as expected:
        convolved()()
    with benchmark(monkeypatch, "limits") as limits:
        found = limits.work_of(convolved())
        with FakeTensorMode():
            imagined = limits.work_of(convolved())
    assert found.flops == expected.get_total_flops() > 0
    assert [one for one in imagined.each if one[0]] == [one for one in found.each if one[0]]
    assert imagined.bytes == pytest.approx(found.bytes, rel=0.02)


def test_the_slowest_resource_is_the_bound(monkeypatch):
    with benchmark(monkeypatch, "limits") as limits:
        rates = limits.Rates(flops=100.0, bytes=10.0, start=0.5)
        work = limits.Work(((200.0, 0.0), (100.0, 15.0), *[(0.0, 1.0)] * 5, (0.0, 0.0)))
        bounds, in_turn = rates.bounds(work), rates.in_turn(work)
        measured = limits.rates_of(torch.device("cpu"), size=64, repeats=2)
    assert bounds == {"product": 3.0, "memory": 2.0, "launches": 4.0}
    assert in_turn == 2.0 + 1.5 + 6 * 0.5
    assert min(measured.flops, measured.bytes, measured.start) > 0
