"""The ids of global identities: `g1`, `g2`, ...; the state holds only the number."""

from __future__ import annotations

import re

from crossreid.errors import CrossreidError


def id_of(number: int) -> str:
    """`g7` for 7."""
    return f"g{number}"


def number_of(identity: str) -> int:
    """7 for `g7`. Raises `CrossreidError` for an invalid id."""
    if not re.fullmatch("g[1-9][0-9]{0,17}", identity):
        raise CrossreidError(f"identity {identity!r}: expected g and a number, as in events, for example g7.")
    return int(identity[1:])
