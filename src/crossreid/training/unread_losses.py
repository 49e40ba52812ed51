"""Losses on their way from the device to the host: read some steps after they were computed, so that no step waits for them.

A GPU computes behind the program that feeds it; who asks for a number of the present step makes both wait for each other. Here a
step's losses are copied to the host without waiting, and read in blocks once later steps are under way. On a CPU nothing is
ahead of anything: each step's losses are read at once, before its backward pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.training.host_copy import HostCopy

# Steps that a GPU is given beyond the one whose losses are read.
AHEAD = 4


class NonFiniteLoss(CrossreidError):
    """A loss term, or the norm of the gradient, became infinite or NaN; the message names it and its step."""


class StepLosses(NamedTuple):
    """The losses of a step by their names; `step` counts the batches done before it."""

    step: int
    values: dict[str, float]


class _Unread(NamedTuple):
    step: int
    names: tuple[str, ...]
    values: HostCopy
    logged: bool


def ahead_on(device: torch.device) -> int:
    """How many steps a device is given beyond the one whose losses are read."""
    return AHEAD if device.type == "cuda" else 0


class UnreadLosses:
    """The losses of the last steps, in their order.

    Args:
        ahead: a step's losses are read once so many later ones are under way; 0 to read them as they are added.
    """

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead
        self.newest: dict[str, float] = {}
        """The losses of the newest step whose losses were read."""
        self._unread: deque[_Unread] = deque()
        self._read: list[StepLosses] = []

    def add(self, step: int, names: Sequence[str], values: Tensor, *, logged: bool = True) -> None:
        """Take values `(N,)` of a step, one a name; what is due by now is read.

        Args:
            logged: whether they are losses; of others it is only looked at whether they are finite.

        Raises:
            NonFiniteLoss: a value that was read, of this step or one before, is infinite or NaN.
        """
        self._unread.append(_Unread(step, tuple(names), HostCopy(values.detach().float()), logged))
        if step - self._unread[0].step >= 2 * self.ahead:  # in blocks, of what is `ahead` steps old
            self._read_to(step - self.ahead)

    def flush(self) -> None:
        """Read all that was added. Raises `NonFiniteLoss` as `add` does."""
        if self._unread:
            self._read_to(self._unread[-1].step)

    def take(self) -> list[StepLosses]:
        """What was read since the last call."""
        taken, self._read = self._read, []
        return taken

    def _read_to(self, step: int) -> None:
        while self._unread and self._unread[0].step <= step:
            one = self._unread.popleft()
            values = dict(zip(one.names, one.values.read().tolist(), strict=True))
            try:
                refuse_non_finite(values, one.step, what="loss " if one.logged else "")
            except NonFiniteLoss:
                self._unread.clear()  # later ones follow from it
                raise
            if one.logged:
                self.newest = values
                self._read.append(StepLosses(one.step, values))


def refuse_non_finite(values: Mapping[str, float], step: int, *, what: str = "loss ") -> None:
    """Raise `NonFiniteLoss` where a value of `step` is infinite or NaN; `what` precedes its name."""
    bad = [name for name, value in values.items() if value - value != 0]
    if bad:
        raise NonFiniteLoss(
            f"{what}{', '.join(bad)} is not finite at step {step} ({values}). Lower training.optimiser.lr, set "
            "training.clip, or use training.precision=32-true; the last checkpoint is untouched."
        )
