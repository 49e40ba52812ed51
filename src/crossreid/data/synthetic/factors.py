"""The ground truth of a rendered subject as flat, named values, for `factors.csv`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def named_factors(**parts: Any) -> dict[str, str | float]:
    """Return the fields of dataclasses by name, each prefixed by its part's; colours (tuples) as `#rrggbb`."""
    named: dict[str, str | float] = {}
    for prefix, part in parts.items():
        for item in fields(part):
            value = getattr(part, item.name)
            named[f"{prefix}_{item.name}"] = "#{:02x}{:02x}{:02x}".format(*value) if isinstance(value, tuple) else value
    return named
