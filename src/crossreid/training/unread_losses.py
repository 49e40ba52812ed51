"""Losses on their way from the device to the host: read a few steps after they were computed, so that no step waits for
them.

A GPU runs behind the program that feeds it; reading a number of the current step makes both wait for each other. So a
step's losses are copied to the host asynchronously, and read in blocks once later steps are under way. On a CPU nothing
runs ahead: each step's losses are read at once, before its backward pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.training.host_copy import HostCopy

# Steps queued on a GPU beyond the one whose losses are read.
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
    """The number of steps queued on a device beyond the one whose losses are read."""
    return AHEAD if device.type == "cuda" else 0


class UnreadLosses:
    """The losses of the latest steps, in order.

    Args:
        ahead: a step's losses are read once this many later steps are under way; 0 reads them as they are added.
    """

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead
        self.newest: dict[str, float] = {}
        """The losses of the newest step whose losses have been read."""
        self._unread: deque[_Unread] = deque()
        self._read: list[StepLosses] = []

    def add(self, step: int, names: Sequence[str], values: Tensor, *, logged: bool = True) -> None:
        """Add values `(N,)` of a step, one per name; reads what is due.

        Args:
            logged: whether they are losses; others are only checked to be finite.

        Raises:
            NonFiniteLoss: a value read, of this or an earlier step, is infinite or NaN.
        """
        self._unread.append(_Unread(step, tuple(names), HostCopy(values.detach().float()), logged))
        if step - self._unread[0].step >= 2 * self.ahead:  # in blocks, of losses `ahead` steps old
            self._read_to(step - self.ahead)

    def flush(self) -> None:
        """Read everything added. Raises `NonFiniteLoss` as `add` does."""
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
    """Raise `NonFiniteLoss` if a value of `step` is infinite or NaN; `what` precedes its name."""
    bad = [name for name, value in values.items() if value - value != 0]
    if bad:
        raise NonFiniteLoss(
            f"{what}{', '.join(bad)} is not finite at step {step} ({values}). Lower training.optimiser.lr, set "
            "training.clip, or use training.precision=32-true; the last checkpoint is untouched."
        )
