"""The events of a watch: an identity entered a camera's view, left it, or two identities turned out to be one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

EventKind = Literal["seen", "left", "merged", "split"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    id: unique to this event, and the same when it is resent; number: from 1, in the order of occurrence.
    time: when it happened, seconds since 1970 UTC (or of the file); for `left`, when the identity was last seen.
    identity: the global identity; for `merged` the one that stays, for `split` the new one.
    other: for `merged` the identity that is gone, for `split` the one it was split from; else None.
    name: the identity's name in the gallery, None if the gallery does not know it ("unknown").
    probability: the calibrated probability that the tracklet shows that identity; None for a new identity and for a
    person's decision. camera, track, modality: those of the tracklet; None for `merged` and `split`. by: the person who
    decided; else None.
    """

    id: str
    number: int
    kind: EventKind
    time: float
    identity: str
    other: str | None = None
    name: str | None = None
    probability: float | None = None
    camera: str | None = None
    track: int | None = None
    modality: Literal["visible", "infrared"] | None = None
    by: str | None = None

    def to_json(self) -> str:
        """Return the event as one line, without a line end."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Event:
        """The event written by `to_json`."""
        told: dict[str, Any] = json.loads(text)
        return cls(**told)
