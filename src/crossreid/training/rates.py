"""Rates by part: what the learning rate of the parameters of each part of a method is multiplied by.

Parts of the encoders are those of `parts`; `heads` is what lies outside them. A stage that is named has its own factor,
whatever `backbone` has; what is not named learns at the full rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from crossreid.errors import CrossreidError
from crossreid.training.parts import BACKBONE, HEADS, modules_of, refuse_unknown

KEY = "training.optimiser.rates"
EARLIER = "new_layers_factor"  # the key of an optimiser that said what `heads` says


def rate_factors(method: nn.Module, rates: Mapping[str, float]) -> dict[int, float]:
    """The factor of each parameter, by its id; of those that are not there it is 1.

    Raises:
        CrossreidError: an encoder has no such part.
    """
    encoders = list(getattr(method, "encoders", []))
    inside = {id(parameter) for encoder in encoders for parameter in encoder.parameters()}
    factors = {id(p): rates[HEADS] for p in method.parameters() if id(p) not in inside} if HEADS in rates else {}
    for name in sorted(rates, key=lambda name: name != BACKBONE):  # first the whole, then the stages in it
        if name != HEADS:
            modules = [module for encoder in encoders for module in modules_of(encoder, name, KEY)]
            factors |= {id(p): rates[name] for module in modules for p in module.parameters(recurse=False)}
    return factors


def check(rates: Mapping[str, float]) -> None:
    """Raise `CrossreidError` for parts that there are not, and for factors that are not above 0."""
    refuse_unknown(rates, "rates", known=(HEADS,))
    for name, factor in rates.items():
        if factor <= 0:
            raise CrossreidError(
                f"rates: {name} is {factor:g}, expected more than 0; what is to learn nothing goes under training.freeze"
            )


def as_rates(given: Mapping[str, Any]) -> dict[str, Any]:
    """The `optimiser` section with `rates` in place of `new_layers_factor`, its earlier form.

    Raises:
        CrossreidError: both are there, and speak of the heads.
    """
    kept, rates = dict(given), given.get("rates") or {}
    if not isinstance(rates, dict):
        return kept
    if EARLIER in kept:
        if HEADS in rates:
            raise CrossreidError(
                f"{EARLIER} is the earlier form of rates.{HEADS}, and both are there; expected one of them"
            )
        rates = rates | {HEADS: kept.pop(EARLIER)}
    if rates.get(HEADS) == 1:  # as if it were not there, so that both ways to say so are one recipe
        rates = {name: factor for name, factor in rates.items() if name != HEADS}
    return kept | {"rates": rates}
