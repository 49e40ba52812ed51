"""Requests and responses as JSON. The OpenAPI document is made from these; forms are in `service.forms`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossreid.errors import CrossreidError
from crossreid.galleries.entries import Entry
from crossreid.galleries.filters import Filter
from crossreid.galleries.judging import Threshold
from crossreid.service.refusals import Refusal

ModalityName = Literal["visible", "infrared"]
MapKind = Literal["grad-cam", "rollout"]
_IDS = 100  # most ids per search


class EntryOut(BaseModel):
    """An entry of the gallery. `camera` 0, `identity` null and `time` null mean unknown; `image`: whether /v1/image shows it."""

    id: str
    identity: str | None
    camera: int
    modality: ModalityName
    time: str | None
    source: str
    image: bool


class Match(BaseModel):
    """`score` is the cosine similarity of query and entry, -1 to 1; `rank` counts from 1.

    `is_query`: the entry is from a file of the query, if its file can be read. `probability`: that query and entry show
    the same identity, null if the model is not calibrated for their modalities; `accepted`: whether it reaches the operator's
    threshold, null if there is none.
    """

    rank: int
    score: float
    entry: EntryOut
    is_query: bool = False
    probability: float | None = None
    accepted: bool | None = None


class QueryOut(BaseModel):
    """The query: the SHA-256 of each image file, as in the audit log, or ids of entries."""

    sha256: list[str]
    ids: list[str]


class ThresholdOut(BaseModel):
    """The operator's threshold: one of the two is set."""

    unknown_below: float | None
    false_accept_rate: float | None
    words: str


class Result(BaseModel):
    """The result of a search, best first; equal scores are ordered by id.

    `known`: whether a match other than the query itself is accepted. False means "unknown: none of these"; null means there
    is no threshold, or no calibration for the modalities. `prior`: the share of same-identity pairs that the
    probabilities assume, from the request or the calibration. `warning`: set if the gallery size differs greatly from the
    one that the threshold of a false-accept rate was measured with.
    """

    request: str
    model: str
    query: QueryOut
    matches: list[Match]
    known: bool | None = None
    threshold: ThresholdOut | None = None
    prior: float | None = None
    warning: str | None = None


class SampledEntries(BaseModel):
    entries: list[EntryOut]


class Ids(BaseModel):
    ids: list[str]


class Deleted(BaseModel):
    deleted: int


class Heat(BaseModel):
    """`heat` (h, w), 0 or more, of the named encoder: interpolate it over the whole image, scaled by its largest value."""

    encoder: str
    kind: MapKind = "grad-cam"
    heat: list[list[float]]


class Maps(BaseModel):
    maps: list[Heat]


class AttentionOut(BaseModel):
    similarity: float
    query: Maps
    match: Maps


class ErrorText(BaseModel):
    code: str
    message: str


class ErrorOut(BaseModel):
    """Every refusal: a code for programs, a message for people."""

    error: ErrorText


class FilterIn(BaseModel):
    """Conditions that an entry must all meet; `cameras`: any of them; `since` <= time < `until`, ISO 8601, UTC unless a zone
    is named."""

    model_config = ConfigDict(extra="forbid")
    identity: str | None = None
    cameras: Annotated[list[int], Field(min_length=1, max_length=1000)] | None = None
    modality: ModalityName | None = None
    since: str | None = None
    until: str | None = None
    source: str | None = None
    source_prefix: str | None = None

    def to_filter(self) -> Filter:
        """Raises `Refusal` (422) for conditions that no entry could meet."""
        try:
            return Filter(**self.model_dump())
        except CrossreidError as error:
            raise Refusal(422, str(error)) from error

    def conditions(self) -> dict[str, Any]:
        """The conditions that are set, for the audit log."""
        return self.model_dump(exclude_none=True)


class SearchIds(BaseModel):
    """Several ids are taken as images of one identity; they are left out of the matches unless `include_queried`.

    `prior`: the share of same-identity pairs that probabilities assume; by default that of the calibration.
    """

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_IDS)]
    k: Annotated[int, Field(ge=1)] = 10
    filter: FilterIn = FilterIn()
    include_queried: bool = False
    prior: Annotated[float | None, Field(gt=0, lt=1)] = None


class DeleteIn(BaseModel):
    """Either ids or a filter; neither may be empty."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None = None
    filter: FilterIn | None = None


def threshold_out(threshold: Threshold) -> ThresholdOut | None:
    """A threshold as the API shows it; None if none is set."""
    if not threshold.is_set:
        return None
    return ThresholdOut(
        unknown_below=threshold.unknown_below, false_accept_rate=threshold.false_accept_rate, words=threshold.in_words
    )


def time_text(time: float | None) -> str | None:
    """Seconds since 1970 UTC as ISO 8601, or unchanged if outside the calendar."""
    if time is None or math.isnan(time):
        return None
    try:
        return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return repr(time)


def entry_out(entry: Entry, image: bool) -> EntryOut:
    """An entry as the API shows it; `image`: whether there is one to show."""
    return EntryOut(
        id=entry.id, identity=entry.identity, camera=entry.camera, modality=entry.modality.name.lower(),  # type: ignore[arg-type]
        time=time_text(entry.time), source=entry.source, image=image,
    )  # fmt: skip
