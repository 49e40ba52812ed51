"""Options for reading a source's frames, and counts of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from crossreid.errors import CrossreidError
from crossreid.options import Options


class ReadingOptions(Options):
    """How sources are read. When frames come too fast, a stream drops the oldest waiting ones; a file waits."""

    every: int = Field(1, ge=1, description="Keep every n-th frame, by its index.")
    fps: float | None = Field(None, gt=0, le=1000, description="Most frames per second of film time; null: all.")
    real_time: bool = Field(
        False, description="Read files at the pace of their timestamps, dropping frames like a stream."
    )
    queue: int = Field(4, ge=1, le=1000, description="Decoded frames that may wait; further ones displace the oldest.")
    timeout: float = Field(
        10.0, gt=0, le=3600, description="Seconds without data after which a stream counts as stalled."
    )
    give_up: float | None = Field(
        None,
        gt=0,
        description="Seconds without a frame after which a stream counts as ended; null: it is retried forever.",
    )
    retry: float = Field(0.5, gt=0, le=60, description="Seconds until a stream is reconnected, doubled each time.")
    longest_retry: float = Field(30.0, gt=0, le=3600, description="Most seconds between two tries.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.every > 1 and self.fps is not None:
            raise CrossreidError("expected every or fps, found both")
        return self


@dataclass(slots=True)
class FrameCounts:
    """Counts of what happened to a source's frames so far.

    decoded: frames decoded; given: those passed on; skipped: those that `every` or `fps` left
    out; dropped: those dropped because the consumer was behind.
    stalls: times without data for `timeout` seconds; reconnects: number of reconnections.
    resized: changes of the frames' size; corrupt: damaged or truncated packets and frames, unreadable pictures;
    missing: frames that a file claims but does not have; mistimed: frames whose time was missing or went back.
    waiting: frames waiting now, decoded but not passed on.
    """

    decoded: int = 0
    given: int = 0
    skipped: int = 0
    dropped: int = 0
    stalls: int = 0
    reconnects: int = 0
    resized: int = 0
    corrupt: int = 0
    missing: int = 0
    mistimed: int = 0
    waiting: int = 0
