"""That the support for tests of synchronisation refuses what waits for a device, and lets pass what does not."""

import pytest
import torch

from no_synchronisation import Synchronised, no_synchronisation

x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
first, third = torch.tensor([True, False, True, False]), torch.tensor(2)


class Waits(torch.autograd.Function):
    @staticmethod
    def forward(context, given):
        return given.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient if bool((gradient == gradient).all()) else None


@pytest.mark.parametrize(
    "reading",
    [
        lambda: x.sum().item(), lambda: float(x[0, 0]), lambda: 1 if (x > 0).any() else 0, lambda: torch.equal(x, x),
        lambda: x.tolist(), lambda: x.numpy(), lambda: x.cpu(), lambda: x[first], lambda: x.clone()[third],
        lambda: (x > 0).nonzero(), lambda: x.masked_select(x > 0), lambda: torch.where(x > 0), lambda: x.unique(),
        lambda: torch.bincount(torch.arange(3)), lambda: x.clone().index_put_((first,), torch.tensor(0.0)),
        lambda: torch.arange(3).repeat_interleave(torch.arange(3)),
        lambda: Waits.apply(x.clone().requires_grad_()).sum().backward(),
    ],
)  # fmt: skip
def test_what_waits_is_refused(reading):
    reading()
    with no_synchronisation(), pytest.raises(Synchronised, match="makes the host wait"):
        reading()


@pytest.mark.parametrize(
    "computing",
    [
        lambda: x[torch.tensor([0, 2])], lambda: x[1:3], lambda: torch.where(x > 0, x, 0.0), lambda: x.masked_fill(x > 0, 0),
        lambda: torch.arange(3).repeat_interleave(2), lambda: x.to(torch.float64), lambda: x.sort(dim=1), lambda: len(x),
        lambda: torch.arange(3).repeat_interleave(torch.arange(3), output_size=3),
        lambda: x.clone().requires_grad_().pow(2).sum().backward(),
    ],
)  # fmt: skip
def test_what_does_not_wait_passes(computing):
    with no_synchronisation():
        computing()
