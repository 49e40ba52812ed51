"""Form fields, which carry images, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import File, Form, UploadFile

from crossreid.errors import CrossreidError
from crossreid.galleries.values import check_texts, utc_seconds
from crossreid.service.refusals import Refusal
from crossreid.service.schemas import FilterIn, ModalityName

Files = Annotated[list[UploadFile], File(description="JPEG, PNG, WebP, BMP or TIFF.")]
OneFile = Annotated[UploadFile | None, File(description="JPEG, PNG, WebP, BMP or TIFF.")]
FormModality = Annotated[ModalityName, Form(description="Modality of the images sent.")]


async def filter_fields(
    filter_identity: Annotated[str | None, Form()] = None,
    filter_camera: Annotated[list[int] | None, Form(max_length=1000)] = None,
    filter_modality: Annotated[ModalityName | None, Form()] = None,
    filter_since: Annotated[str | None, Form()] = None,
    filter_until: Annotated[str | None, Form()] = None,
    filter_source: Annotated[str | None, Form()] = None,
    filter_source_prefix: Annotated[str | None, Form()] = None,
) -> FilterIn:
    """The filter in a form's fields; an empty field sets nothing."""
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
    """Ids that are valid for an entry. Raises `DataError`."""
    check_texts(ids, "id")
    return list(ids)


def taken_at(time: str | None) -> float | None:
    """When an image was taken, seconds since 1970 UTC. Raises `Refusal` (422) for text that is not a valid time."""
    if not time:
        return None
    refusal = Refusal(422, f"time {time[:100]!r}: expected ISO 8601, for example 2026-11-21T08:30:00Z.")
    try:
        seconds = utc_seconds(time)
    except CrossreidError as error:
        raise refusal from error
    try:
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:  # beyond the years 1 to 9999
        raise refusal from error
    return seconds
