"""Rates by part: factors of the learning rate for each part of a method.

Parts of the encoders are those of `parts`; `heads` is everything outside them. A named stage has its own factor,
whatever `backbone` has; parts that are not named learn at the full rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from crossreid.errors import CrossreidError
from crossreid.training.parts import BACKBONE, HEADS, modules_of, refuse_unknown

KEY = "training.optimiser.rates"
EARLIER = "new_layers_factor"  # the optimiser key that `heads` replaces


def rate_factors(method: nn.Module, rates: Mapping[str, float]) -> dict[int, float]:
    """The factor of each parameter, by its id; absent ones have 1.

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
    """Raise `CrossreidError` for unknown parts and for factors that are not above 0."""
    refuse_unknown(rates, "rates", known=(HEADS,))
    for name, factor in rates.items():
        if factor <= 0:
            raise CrossreidError(
                f"rates: {name} is {factor:g}, expected more than 0; use training.freeze for parts that should not learn"
            )


def as_rates(given: Mapping[str, Any]) -> dict[str, Any]:
    """The `optimiser` section with `rates` in place of `new_layers_factor`, its earlier form.

    Raises:
        CrossreidError: both set the factor of the heads.
    """
    kept, rates = dict(given), given.get("rates") or {}
    if not isinstance(rates, dict):
        return kept
    if EARLIER in kept:
        if HEADS in rates:
            raise CrossreidError(
                f"{EARLIER} is the earlier form of rates.{HEADS}, and both are given; expected one of them"
            )
        rates = rates | {HEADS: kept.pop(EARLIER)}
    if rates.get(HEADS) == 1:  # dropped, so that both ways to write it are one recipe
        rates = {name: factor for name, factor in rates.items() if name != HEADS}
    return kept | {"rates": rates}
