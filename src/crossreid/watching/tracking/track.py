"""A track of one camera while it grows: its boxes, the images that represent it, and whether it is still seen."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from crossreid.watching.tracking.key_frames import KeyFrames


@dataclass(eq=False, slots=True)
class Track:
    """Boxes in order of time.

    library: the tracker library's id for it, None once the library no longer tracks it. number: its public number, None
    until it is known whether it continues another. cut_from: the track that it was cut off from, which it can't
    continue. reported: the time up to which it was last reported, None for never. joined: whether it has continued as
    another since then; holds: the frame up to which the last report is still valid, None if all of it is.
    """

    camera: str
    library: int | None
    key_frames: KeyFrames
    indexes: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    number: int | None = None
    cut_from: Track | None = None
    reported: float | None = None
    joined: bool = False
    holds: int | None = None

    @property
    def start(self) -> float:
        return self.times[0]

    @property
    def end(self) -> float:
        return self.times[-1]

    def grow(self, index: int, time: float, box: np.ndarray) -> None:
        """Add a box."""
        self.indexes.append(index)
        self.times.append(time)
        self.boxes.append(np.asarray(box, dtype=np.float32))

    def take_tail(self, index: int) -> Track:
        """Cut off the part from frame `index` on, and return it as a track that continues in place of this one."""
        at = int(np.searchsorted(self.indexes, index))
        tail = Track(self.camera, self.library, KeyFrames(self.key_frames.limit), cut_from=self)
        tail.indexes, tail.times, tail.boxes = self.indexes[at:], self.times[at:], self.boxes[at:]
        every = self.key_frames.all
        tail.key_frames.replace(candidate for candidate in every if candidate.index >= index)
        self.key_frames.replace(candidate for candidate in every if candidate.index < index)
        self.indexes, self.times, self.boxes = self.indexes[:at], self.times[:at], self.boxes[:at]
        self.library, self.holds = None, min(self.indexes[-1], self.indexes[-1] if self.holds is None else self.holds)
        return tail

    def append(self, other: Track) -> None:
        """Continue as `other`, which starts after this one ends."""
        self.indexes += other.indexes
        self.times += other.times
        self.boxes += other.boxes
        self.key_frames.replace(self.key_frames.all + other.key_frames.all)
        self.library, self.joined = other.library, True

    def velocity(self, seconds: float = 0.6) -> np.ndarray:
        """The velocity of the box's centre over the last `seconds`, pixels per second `(2,)`; zero if unknown."""
        first = len(self.times) - 1
        while first > 0 and self.end - self.times[first - 1] <= seconds:
            first -= 1
        passed = self.end - self.times[first]
        return np.zeros(2) if passed <= 0 else (middle(self.boxes[-1]) - middle(self.boxes[first])) / passed

    def __getstate__(self) -> dict[str, Any]:
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        arrays = {"indexes": np.array(self.indexes), "times": np.array(self.times), "boxes": np.stack(self.boxes)}
        return state | arrays  # thousands of boxes are written at each commit, which is faster as arrays

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.indexes, self.times, self.boxes = state["indexes"].tolist(), state["times"].tolist(), list(state["boxes"])


def middle(box: np.ndarray) -> np.ndarray:
    """The centre of a box, `(2,)` float64."""
    return np.array([box[0] + box[2], box[1] + box[3]], dtype=np.float64) / 2
