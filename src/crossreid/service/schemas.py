"""What goes in and out as JSON, and in as form fields. The OpenAPI document is made from these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import File, Form, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from crossreid.galleries.entries import Entry, Matches
from crossreid.galleries.filters import Filter
from crossreid.galleries.values import check_texts, utc_seconds
from crossreid.service.refusals import Refusal

ModalityName = Literal["visible", "infrared"]
_IDS = 100  # of a search


class EntryOut(BaseModel):
    """An entry of the gallery. `camera` 0, `identity` and `time` null: unknown; `image`: whether /v1/image shows it."""

    id: str
    identity: str | None
    camera: int
    modality: ModalityName
    time: str | None
    source: str
    image: bool


class Match(BaseModel):
    """`score` is the cosine similarity of query and entry, -1 to 1; `rank` counts from 1."""

    rank: int
    score: float
    entry: EntryOut


class QueryOut(BaseModel):
    """What asked: the SHA-256 of each image's file, as the audit log has them, or ids of entries."""

    sha256: list[str]
    ids: list[str]


class Result(BaseModel):
    """What a search found, best first, equal scores by id."""

    request: str
    model: str
    query: QueryOut
    matches: list[Match]


class Entries(BaseModel):
    entries: list[EntryOut]


class Ids(BaseModel):
    ids: list[str]


class Deleted(BaseModel):
    deleted: int


class Heat(BaseModel):
    """`heat` (h, w), 0 or more, of the named encoder: lay it smoothly over the whole image, scaled by its largest value."""

    encoder: str
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
    """Every refusal: a code for programs, a sentence for people."""

    error: ErrorText


class FilterIn(BaseModel):
    """Conditions that all hold of an entry; `cameras`: any of them; `since` <= time < `until`, ISO 8601, UTC unless a zone
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
        """Raises `Refusal` (422) for conditions that nothing could meet."""
        try:
            return Filter(**self.model_dump())
        except ValueError as error:
            raise Refusal(422, str(error)) from error

    def told(self) -> dict[str, Any]:
        """The conditions that are set, for the audit log."""
        return self.model_dump(exclude_none=True)


class SearchIds(BaseModel):
    """Several ids are taken for images of one identity; they are left out of the matches unless `include_queried`."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_IDS)]
    k: Annotated[int, Field(ge=1)] = 10
    filter: FilterIn = FilterIn()
    include_queried: bool = False


class DeleteIn(BaseModel):
    """Either ids or a filter, which must not be empty."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None = None
    filter: FilterIn | None = None


Files = Annotated[list[UploadFile], File(description="JPEG, PNG, WebP, BMP or TIFF.")]
OneFile = Annotated[UploadFile | None, File(description="JPEG, PNG, WebP, BMP or TIFF.")]
FormModality = Annotated[ModalityName, Form(description="Of what was sent.")]


async def filter_fields(
    filter_identity: Annotated[str | None, Form()] = None,
    filter_camera: Annotated[list[int] | None, Form(max_length=1000)] = None,
    filter_modality: Annotated[ModalityName | None, Form()] = None,
    filter_since: Annotated[str | None, Form()] = None,
    filter_until: Annotated[str | None, Form()] = None,
    filter_source: Annotated[str | None, Form()] = None,
    filter_source_prefix: Annotated[str | None, Form()] = None,
) -> FilterIn:
    """A filter of a form's fields; a field that is sent empty is none."""
    return FilterIn(
        identity=filter_identity or None,
        cameras=filter_camera or None,
        modality=filter_modality,
        since=filter_since or None,
        until=filter_until or None,
        source=filter_source or None,
        source_prefix=filter_source_prefix or None,
    )


def checked_ids(ids: Sequence[str]) -> list[str]:
    """Ids that an entry could have. Raises `DataError`."""
    check_texts(ids, "id")
    return list(ids)


def time_text(time: float | None) -> str | None:
    """Seconds since 1970 UTC as ISO 8601, or as they are where no calendar reaches."""
    if time is None or math.isnan(time):
        return None
    try:
        return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return repr(time)


def entry_out(entry: Entry, image: bool) -> EntryOut:
    return EntryOut(
        id=entry.id, identity=entry.identity, camera=entry.camera, modality=entry.modality.name.lower(),  # type: ignore[arg-type]
        time=time_text(entry.time), source=entry.source, image=image,
    )  # fmt: skip


def first(matches: Matches, k: int, without: Sequence[str] = ()) -> Matches:
    """The k best, less those of some ids."""
    kept = [at for at, id in enumerate(matches.ids) if id not in without][:k]
    return Matches(
        tuple(matches.ids[at] for at in kept), matches.scores[kept], tuple(matches.entries[at] for at in kept)
    )


def taken_at(time: str | None) -> float | None:
    """When an image was taken, seconds since 1970 UTC. Raises `Refusal` (422) for text that is no time of the calendar."""
    if not time:
        return None
    try:
        seconds = utc_seconds(time)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Refusal(422, f"time {time[:100]!r}: expected ISO 8601, for example 2026-11-21T08:30:00Z.") from error
    return seconds


def refuse_more(count: int, most: int, what: str) -> None:
    """Raises `Refusal` (422) where there is none, or more than `most`."""
    if not 1 <= count <= most:
        raise Refusal(422, f"{what}: expected 1 to {most}, found {count}.")
