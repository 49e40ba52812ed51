"""Frozen parts of the encoders keep their weights and batch norm statistics, for some epochs or permanently.

In one process no gradient is computed for frozen parts, so steps in which only the heads learn cost little more
than a forward pass. Several processes agree at the start on which gradients they average; there the gradients of parts
that learn later are computed and dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from crossreid.errors import CrossreidError
from crossreid.training.parts import BACKBONE, modules_of, refuse_unknown, stage_names

Unfreeze = float | dict[str, float | None] | None
FREEZE = "training.freeze"
EARLIER = ("frozen_stages", "frozen_epochs")  # earlier keys of `training` with the same meaning, as numbers


class Part(NamedTuple):
    """Modules that are frozen until `after` epochs are done; permanently if None."""

    modules: list[nn.Module]
    after: float | None


class Freezing:
    """What is frozen when; a module in several parts is frozen as long as one of them is.

    Args:
        several: whether there are several processes, so that only permanently frozen modules have no gradient.
    """

    def __init__(self, parts: Sequence[Part], *, several: bool = False) -> None:
        self._parts, self._several = parts, several
        self.now = self.frozen_at(0.0)
        """The currently frozen modules."""
        # Parameters that never learn, such as a neck's shift, stay that way.
        self._learning = {
            id(module): [p for p in module.parameters(recurse=False) if p.requires_grad]
            for part in parts
            for module in part.modules
        }
        self._set(self.frozen_at(float("inf")) if several else self.now)

    def frozen_at(self, epochs: float) -> list[nn.Module]:
        """The modules that are frozen after this many epochs."""
        return _once(m for part in self._parts if part.after is None or epochs < part.after for m in part.modules)

    def reach(self, epochs: float) -> bool:
        """Advance to this many epochs done; returns whether the frozen modules have changed."""
        frozen = self.frozen_at(epochs)
        if len(frozen) == len(self.now):  # the set only shrinks over time
            return False
        self.now = frozen
        if not self._several:
            self._set(frozen)
        return True

    def drop_gradients(self) -> None:
        """Drop the gradients of frozen modules."""
        for module in self.now:
            for parameter in module.parameters(recurse=False):
                parameter.grad = None

    def _set(self, frozen: Sequence[nn.Module]) -> None:
        kept = {id(module) for module in frozen}
        for module, learning in self._learning.items():
            for parameter in learning:
                parameter.requires_grad_(module not in kept)


def freezing_of(
    method: nn.Module, freeze: Sequence[str], unfreeze_after: Unfreeze = None, *, several: bool = False
) -> Freezing:
    """Freeze parts of the method's encoders.

    The optimiser must be made first: it keeps frozen parameters, so that resuming with other frozen parts finds its
    state unchanged.

    Raises:
        CrossreidError: an encoder has no such part, or nothing is left to learn.
    """
    encoders = getattr(method, "encoders", [])
    parts = [
        Part(
            [module for encoder in encoders for module in modules_of(encoder, name, FREEZE)],
            after_of(name, unfreeze_after),
        )
        for name in freeze
    ]
    freezing = Freezing(parts, several=several)
    if freeze and not any(parameter.requires_grad for parameter in method.parameters()):
        raise CrossreidError(f"{FREEZE} is {list(freeze)}, which leaves nothing to learn in {type(method).__name__}.")
    return freezing


def after_of(name: str, unfreeze_after: Unfreeze) -> float | None:
    """The number of epochs after which the part `name` learns; None for never."""
    return unfreeze_after.get(name) if isinstance(unfreeze_after, dict) else unfreeze_after


def check(freeze: Sequence[str], unfreeze_after: Unfreeze) -> None:
    """Raise `CrossreidError` for parts that do not exist, are named twice, or are unfrozen without being frozen."""
    refuse_unknown(freeze, "freeze")
    if twice := [name for name, count in Counter(freeze).items() if count > 1]:
        raise CrossreidError(f"freeze: {twice[0]!r} is named twice")
    named = unfreeze_after if isinstance(unfreeze_after, dict) else {}
    for name in named:
        if name not in freeze:
            raise CrossreidError(
                f"unfreeze_after: {name!r} is not frozen; expected of freeze: {', '.join(freeze) or 'nothing'}"
            )
    times = [*named.values()] if named else [unfreeze_after]
    for time in times:
        if isinstance(time, float | int) and time < 0:
            raise CrossreidError(f"unfreeze_after: expected epochs, 0 or more, found {time:g}")
    if isinstance(unfreeze_after, float | int) and not freeze:
        raise CrossreidError(f"unfreeze_after is {unfreeze_after:g}, but nothing is frozen; name parts under freeze")


def as_parts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The `training` section with `freeze`, a list, and `unfreeze_after` in place of their earlier form,
    `frozen_stages` and `frozen_epochs`.

    Raises:
        CrossreidError: both forms are given.
    """
    kept = {key: value for key, value in given.items() if key not in EARLIER}
    if isinstance(kept.get("freeze"), str):
        kept["freeze"] = [kept["freeze"]]
    stages, epochs = (given.get(key, 0) for key in EARLIER)
    if len(kept) == len(given):
        return kept
    for key in EARLIER:
        value = given.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CrossreidError(f"{key}: expected a whole number, 0 or more, found {value!r}")
    if kept.get("freeze"):
        found = next(key for key in EARLIER if key in given)
        raise CrossreidError(
            f"{found} is the earlier form of freeze and unfreeze_after, and freeze is {kept['freeze']!r}; expected one of "
            "the two forms"
        )
    frozen: dict[str, Any] = {}
    if stages:
        frozen["freeze"] = stage_names(stages)
    if epochs:
        frozen["freeze"] = [*frozen.get("freeze", ()), BACKBONE]
        frozen["unfreeze_after"] = {BACKBONE: float(epochs)} if stages else float(epochs)
    return kept | frozen


def _once(modules: Iterable[nn.Module]) -> list[nn.Module]:
    return list({id(module): module for module in modules}.values())
