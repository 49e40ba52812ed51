"""Times of a watch as people read them: on films and in what the command says."""

from __future__ import annotations

from datetime import UTC, datetime

_FILM = 1e8  # seconds: an earlier time is one of a film that does not say when it was taken


def moment(time: float) -> str:
    """`2026-11-21 08:30:00 UTC` of seconds since 1970; `0:01:30` of seconds since a film began."""
    if time >= _FILM:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    seconds = int(time)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
