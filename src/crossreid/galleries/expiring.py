"""Expiry of entries: they are kept for a number of days after they were taken or added, whichever is first."""

from __future__ import annotations

import time

from crossreid.errors import CrossreidError
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Gallery

DAY = 86_400
MOST_DAYS = 36_500


def check_days(days: float) -> None:
    """Raise `CrossreidError` for days that are not above 0, or more than 36,500."""
    if not 0 < days <= MOST_DAYS:
        raise CrossreidError(f"days {days:g}: expected more than 0 and at most {MOST_DAYS}.")


def expire(gallery: Gallery, days: float, now: float | None = None) -> int:
    """Delete the entries taken or added more than `days` days before `now`; returns how many.

    `now` is in seconds since 1970 UTC. Raises as `check_days`.
    """
    check_days(days)
    over = (time.time() if now is None else now) - days * DAY
    return sum(gallery.delete(filter=chosen) for chosen in (Filter(until=over), Filter(added_until=over)))
