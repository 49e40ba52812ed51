"""Requests and responses of a watch's routes, as JSON. Times are seconds, as in events: since 1970 UTC, or of the video."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossreid.service.schemas import ModalityName

IdentityId = Annotated[str, Field(pattern=r"^g[1-9][0-9]{0,17}$", description="Id of a global identity, as in events.")]


class WatchedCamera(BaseModel):
    name: str
    number: int


class PresenceOut(BaseModel):
    """An identity in a camera's view; `open`: it has not left yet. `name` null: unknown to the gallery.

    `probability`: the lowest among its matched tracks, null if none was matched.
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
    """Presences that overlap the requested time, earliest first; `more`: there are others beyond the limit.

    `latest` is the number of the last event at the time of reading.
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
    """Identities, most recently seen first; `first` and `last` are over all of them, null if there are none."""

    identities: list[IdentityOut]
    first: float | None
    last: float | None


class CropOut(BaseModel):
    """A key frame of a track: frame `index`; `image`: whether its crop can be shown."""

    index: int
    time: float
    image: bool


class TrackOut(BaseModel):
    """A track; `number` is what `/v1/watch/crops` and splitting take. `probability` null: the first track of its identity, or a
    person decided (`pinned`)."""

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
    """`identity` is the requested one, or the one it was merged into."""

    identity: str
    name: str | None
    tracks: list[TrackOut]


class Events(BaseModel):
    """Events as in `events.jsonl`."""

    events: list[dict[str, Any]]
    latest: int


class MergeIn(BaseModel):
    """`other` is the same as `into`, and becomes `into`."""

    model_config = ConfigDict(extra="forbid")
    into: IdentityId
    other: IdentityId


class SplitIn(BaseModel):
    """Tracks of `identity`, by their numbers, that show someone else."""

    model_config = ConfigDict(extra="forbid")
    identity: IdentityId
    tracks: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(min_length=1, max_length=10_000)]


class RequestOut(BaseModel):
    """A merge or split: either done, with the number of its event, or passed on to the watching process, which has not done it
    yet; then `request` is what `/v1/watch/requests` takes, else 0."""

    request: int
    state: Literal["asked", "done", "refused"]
    event: int | None = None
    refused: str | None = None
