"""Averaged weights: after each step the average moves slightly towards the weights.

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, as an exponential moving
average: a <- decay a + (1 - decay) w. The first update copies. Buffers, such as batch norm statistics, are copied each
time. All tensors are updated in one call, and updates are counted on the host, so no device waits.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average of a method's weights: a copy of it, `module`, moved by each `update`."""

    def __init__(self, method: nn.Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(method), decay
        self.updates = 0

    @torch.no_grad()
    def update(self, method: nn.Module) -> None:
        """Move the average towards the weights of `method`."""
        pairs = zip(self.module.parameters(), method.parameters(), strict=True)
        for average, weights in _by_type(pairs):
            if self.updates == 0:
                torch._foreach_copy_(average, weights)
            else:
                torch._foreach_lerp_(average, weights, 1 - self.decay)
        for average, weights in _by_type(zip(self.module.buffers(), method.buffers(), strict=True)):
            torch._foreach_copy_(average, weights)
        self.updates += 1


def _by_type(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Pairs of tensors in one list per type, as a single call takes them."""
    lists: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for one, other in pairs:
        lists[one.dtype][0].append(one)
        lists[one.dtype][1].append(other)
    return list(lists.values())
