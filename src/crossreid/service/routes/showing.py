"""Showing entries: some to start from, what is known about one, its image."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from crossreid.service import schemas
from crossreid.service.forms import checked_ids
from crossreid.service.pictures import as_jpeg
from crossreid.service.refusals import Refusal
from crossreid.service.routes.dependencies import CurrentService, Id, needs, router_of_refusals

router = router_of_refusals()


@router.get("/v1/sample", tags=["gallery"], dependencies=needs("search"))
async def sample(
    request: Request,
    service: CurrentService,
    count: Annotated[int, Query(ge=1, le=100)] = 12,
    seed: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> schemas.SampledEntries:
    """Entries drawn from the gallery, to start from."""
    entries = await service.in_thread(service.gallery.sample, count, seed)
    service.record(request, "sample", shown=[entry.id for entry in entries])
    known = await service.in_thread(service.pictures.known, entries)
    shown = [schemas.entry_out(entry, image) for entry, image in zip(entries, known, strict=True)]
    return schemas.SampledEntries(entries=shown)


@router.get("/v1/entry", tags=["gallery"], dependencies=needs("search"))
async def entry(request: Request, service: CurrentService, id: Id) -> schemas.EntryOut:
    """What is known about an entry."""
    (found,) = await service.entries(checked_ids([id]))
    service.record(request, "entry", shown=[id])
    (known,) = await service.in_thread(service.pictures.known, [found])
    return schemas.entry_out(found, known)


@router.get(
    "/v1/image", tags=["gallery"], dependencies=needs("search"), response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)  # fmt: skip
async def image(
    request: Request, service: CurrentService, id: Id, size: Annotated[int, Query(ge=64, le=1024)] = 384
) -> Response:
    """The image of an entry as JPEG, its longer side `size` pixels at most, without the camera's metadata."""
    (found,) = await service.entries(checked_ids([id]))
    pixels = await service.decode(service.pictures.pixels, found)
    if pixels is None:
        raise Refusal(404, f"there is no image of {id[:200]!r} that can be shown.")
    service.record(request, "image", shown=[id])
    return Response(await service.decode(as_jpeg, pixels, size), media_type="image/jpeg")
