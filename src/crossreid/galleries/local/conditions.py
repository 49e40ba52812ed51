"""A filter in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossreid.data.records import Modality
from crossreid.galleries.filters import Filter, prefix_end


def condition(filter: Filter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition and its values; a filter's text is never part of a statement."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    for name, value in (("identity", filter.identity), ("modality", filter.modality), ("source", filter.source)):
        if value is not None:
            parts.append(f"{name} = ?")
            values.append(int(value) if isinstance(value, Modality) else value)
    if filter.cameras is not None:
        parts.append(f"camera IN ({marks(filter.cameras)})")
        values += filter.cameras
    for comparison, time in (
        ("time >= ?", filter.since),
        ("time < ?", filter.until),
        ("added < ?", filter.added_until),
    ):
        if time is not None:
            parts.append(comparison)
            values.append(time)
    if filter.source_prefix:
        # Not LIKE: it ignores case, and % and _ would have to be escaped.
        parts.append("source >= ?")
        values.append(filter.source_prefix)
        if (end := prefix_end(filter.source_prefix)) is not None:
            parts.append("source < ?")
            values.append(end)
    return " AND ".join(parts), values


def marks(values: Sequence[object]) -> str:
    """One question mark per value, as a list in SQL."""
    return ",".join("?" * len(values))
