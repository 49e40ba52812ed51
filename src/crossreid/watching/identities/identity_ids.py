"""How a global identity is called: `g1`, `g2`, ...; within the state it is the number alone."""

from __future__ import annotations

import re

from crossreid.errors import CrossreidError


def id_of(number: int) -> str:
    """`g7` of 7."""
    return f"g{number}"


def number_of(identity: str) -> int:
    """7 of `g7`. Raises `CrossreidError` for what is no such id."""
    if not re.fullmatch("g[1-9][0-9]{0,17}", identity):
        raise CrossreidError(f"identity {identity!r}: expected g and a number, as events have them, for example g7.")
    return int(identity[1:])
