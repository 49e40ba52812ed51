"""What goes in and out of the routes of a watch, as JSON. Times are seconds, as events have them: since 1970 UTC, or of the film."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossreid.service.schemas import ModalityName

IdentityId = Annotated[
    str, Field(pattern=r"^g[1-9][0-9]{0,17}$", description="Of a global identity, as events name it.")
]


class WatchedCamera(BaseModel):
    name: str
    number: int


class PresenceOut(BaseModel):
    """An identity in a camera's view; `open`: it has not left. `name` null: the gallery does not know it.

    `probability`: the lowest of its tracks that were matched, null where none was.
    """

    number: int
    identity: str
    name: str | None
    camera: str
    first: float
    last: float
    open: bool
    modality: ModalityName
    tracks: int
    probability: float | None


class Timeline(BaseModel):
    """Presences that reach into the time that was asked for, earliest first; `more`: there are others, beyond the limit.

    `latest` is the number of the last event that there was when it was read.
    """

    cameras: list[WatchedCamera]
    presences: list[PresenceOut]
    more: bool
    latest: int


class IdentityOut(BaseModel):
    identity: str
    name: str | None
    first: float
    last: float
    tracks: int
    images: int
    cameras: list[str]


class Identities(BaseModel):
    """Identities, the one that was seen last first; `first` and `last` of all of them, null where there is none."""

    identities: list[IdentityOut]
    first: float | None
    last: float | None


class CropOut(BaseModel):
    """A key frame of a track, of frame `index`; `image`: whether its crop can be shown."""

    index: int
    time: float
    image: bool


class TrackOut(BaseModel):
    """A track; `number` is what `/v1/watch/crops` and splitting take. `probability` null: the first of its identity, or a person
    decided (`pinned`)."""

    number: int
    camera: str
    first: float
    last: float
    modality: ModalityName
    finished: bool
    probability: float | None
    pinned: bool
    crops: list[CropOut]


class IdentityTracks(BaseModel):
    """`identity` is the one that was asked for, or the one that it was merged into."""

    identity: str
    name: str | None
    tracks: list[TrackOut]


class Events(BaseModel):
    """Events as `events.jsonl` has them."""

    events: list[dict[str, Any]]
    latest: int


class MergeIn(BaseModel):
    """`other` is the same as `into`, and is `into` from then on."""

    model_config = ConfigDict(extra="forbid")
    into: IdentityId
    other: IdentityId


class SplitIn(BaseModel):
    """Tracks of `identity`, by their numbers, that show another one."""

    model_config = ConfigDict(extra="forbid")
    identity: IdentityId
    tracks: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(min_length=1, max_length=10_000)]


class RequestOut(BaseModel):
    """A merge or split: done, with the number of its event, or asked of the process that watches, which has not come to it yet; then
    `request` is what `/v1/watch/requests` takes, else 0."""

    request: int
    state: Literal["asked", "done", "refused"]
    event: int | None = None
    refused: str | None = None
