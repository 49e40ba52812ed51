"""What watching says to the outside: an identity came into a camera's view, left it, or two of them turned out to be one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

EventKind = Literal["seen", "left", "merged", "split"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    id: of this event alone, the same when it is sent again; number: from 1, in the order in which events came about.
    time: when it happened, seconds since 1970 UTC (or of the file); for `left`, when the identity was seen last.
    identity: the global identity; of `merged` the one that stays, of `split` the new one.
    other: of `merged` the identity that is no more, of `split` the one that it was taken from; else None.
    name: the identity's name in the gallery, None of one that the gallery does not know ("unknown").
    probability: calibrated, that the tracklet shows that identity; None of a new identity and of what a person decided.
    camera, track, modality: of the tracklet; None of `merged` and `split`. by: the person who decided; else None.
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
        """One line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Event:
        """What `to_json` wrote."""
        told: dict[str, Any] = json.loads(text)
        return cls(**told)
