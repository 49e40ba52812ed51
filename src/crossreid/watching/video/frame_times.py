"""The times of a source's frames: those that its packets say, made to go forward where they are missing or go back."""

from __future__ import annotations

import math

from crossreid.watching.video.reading_options import FrameCounts

STEP = 1e-3  # seconds after the frame before, of one that claims to be older
NEW_CLOCK = 10.0  # seconds back, from which on a clock was set anew, and goes on from here


class FrameTimes:
    """Seconds of one frame after the other, always later than the one before.

    A time that is missing is one frame's length after the one before. One that goes back a little is set just behind the one
    before, and the ones after it count as they are again; one that goes back by more than ten seconds is of a clock that was set
    anew, and it and all after it are shifted.

    Args:
        rate: frames a second, for times that are missing.
    """

    def __init__(self, rate: float, counts: FrameCounts) -> None:
        self.length = 1 / rate
        self.counts = counts
        self.shift = 0.0
        self.last = -math.inf

    def of(self, seconds: float | None) -> float:
        """The time of the next frame, whose packet says `seconds`, or nothing."""
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
