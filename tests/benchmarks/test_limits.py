import torch

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


def test_the_slowest_resource_is_the_bound(monkeypatch):
    with benchmark(monkeypatch, "limits") as limits:
        rates = limits.Rates(flops=100.0, bytes=10.0, start=0.5)
        bounds = rates.bounds(limits.Work(flops=300.0, bytes=20.0, operations=8))
        measured = limits.rates_of(torch.device("cpu"), size=64, repeats=2)
    assert bounds == {"product": 3.0, "memory": 2.0, "launches": 4.0}
    assert min(measured.flops, measured.bytes, measured.start) > 0
