"""Times of a watch for people: on films and in the command's output."""

from __future__ import annotations

from datetime import UTC, datetime

_FILM = 1e8  # seconds: earlier times belong to a film without a start time


def moment(time: float) -> str:
    """`2026-11-21 08:30:00 UTC` for seconds since 1970; `0:01:30` for seconds since the start of a film."""
    if time >= _FILM:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    seconds = int(time)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
