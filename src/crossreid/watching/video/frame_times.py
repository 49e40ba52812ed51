"""The times of a source's frames: its packet timestamps, made monotonic where they are missing or go back."""

from __future__ import annotations

import math

from crossreid.watching.video.reading_options import FrameCounts

STEP = 1e-3  # seconds after the previous frame, for one with an older timestamp
NEW_CLOCK = 10.0  # seconds of going back from which the clock counts as reset, and continues from here


class FrameTimes:
    """Times of successive frames in seconds, strictly increasing.

    A missing time is one frame's duration after the previous one. A time that goes back a little is placed just after
    the previous one, and later ones count as stated again. One that goes back by more than ten seconds comes from a
    clock that was reset, so it and all later ones are shifted.

    Args:
        rate: frames per second, for missing times.
    """

    def __init__(self, rate: float, counts: FrameCounts) -> None:
        self.length = 1 / rate
        self.counts = counts
        self.shift = 0.0
        self.last = -math.inf

    def of(self, seconds: float | None) -> float:
        """The time of the next frame; `seconds` is its packet's, or None."""
        if seconds is None:
            self.counts.mistimed += 1
            time = self.last + self.length if self.last > -math.inf else 0.0
        else:
            time = seconds + self.shift
            if time <= self.last:
                self.counts.mistimed += 1
                if self.last - time > NEW_CLOCK:
                    self.shift += self.last + self.length - time
                    time = seconds + self.shift
                else:
                    time = self.last + STEP
        self.last = time
        return time
