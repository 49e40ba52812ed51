"""How the frames of a source are read, and what is counted on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from crossreid.errors import CrossreidError
from crossreid.options import Options


class ReadingOptions(Options):
    """How sources are read. Of frames that come too fast a stream drops the oldest that wait; a file waits itself."""

    every: int = Field(1, ge=1, description="Each so many-th frame, by its index.")
    fps: float | None = Field(None, gt=0, le=1000, description="At most so many frames a second of film; null: all.")
    real_time: bool = Field(False, description="Read files at the pace of their times, and drop frames as of a stream.")
    queue: int = Field(
        4, ge=1, le=1000, description="Decoded frames that wait for their turn; further ones drop the oldest."
    )
    timeout: float = Field(
        10.0, gt=0, le=3600, description="Seconds without data after which a stream counts as stalled."
    )
    give_up: float | None = Field(
        None,
        gt=0,
        description="Seconds without a frame after which a stream is at its end; null: it is tried again for good.",
    )
    retry: float = Field(
        0.5, gt=0, le=60, description="Seconds until a stream is connected again, twice as long each time."
    )
    longest_retry: float = Field(30.0, gt=0, le=3600, description="Seconds between two tries at most.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.every > 1 and self.fps is not None:
            raise CrossreidError("expected every or fps, found both")
        return self


@dataclass(slots=True)
class FrameCounts:
    """What happened to a source's frames so far.

    decoded: frames that came out of it; given: those of them that were handed on; skipped: those that `every` or `fps` left
    out; dropped: those that were dropped as what takes them was behind.
    stalls: times without data for `timeout` seconds; reconnects: times that it was connected anew.
    resized: changes of the frames' size; corrupt: packets and frames that are damaged or cut off, pictures that cannot be read;
    missing: frames that a file says it has, and that did not come; mistimed: frames whose time was missing or went back.
    waiting: frames that wait now, decoded and not handed on.
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
