"""Deleting entries, and what they left in the files."""

from __future__ import annotations

from functools import partial
from typing import Literal

from fastapi import Request

from crossreid.galleries.filters import Filter
from crossreid.service.routes.dependencies import CurrentService, needs, router_of_refusals
from crossreid.service.schemas import Deleted, DeleteIn
from crossreid.service.search_service import SearchService

router = router_of_refusals()


@router.post("/v1/entries/delete", tags=["gallery"], dependencies=needs("admin"))
async def delete(request: Request, service: CurrentService, which: DeleteIn) -> Deleted:
    """Delete entries and their kept images; once this has answered they are no longer found."""
    chosen = None if which.filter is None else which.filter.to_filter()
    conditions = None if which.filter is None else which.filter.conditions()
    service.record(request, "delete", ids=which.ids, filter=conditions)
    return Deleted(
        deleted=await service.write(partial(_remove, service, which.ids, chosen), deletes=True, ids=which.ids or ())
    )


@router.post("/v1/compact", tags=["gallery"], dependencies=needs("admin"))
async def compact(request: Request, service: CurrentService) -> dict[Literal["bytes"], int | None]:
    """Remove all that is left of deleted entries and images from the files now; otherwise it is done within the hour."""
    service.record(request, "compact")
    await service.in_thread(service.housekeeping.compact)
    return {"bytes": (await service.in_thread(service.gallery.stats)).bytes}


def _remove(service: SearchService, ids: list[str] | None, chosen: Filter | None) -> int:
    """Delete entries, then their images' copies; returns how many entries there were."""
    count = service.gallery.delete(ids, filter=chosen)
    if service.kept is not None and ids is not None:
        service.kept.delete(ids)
    elif service.kept is not None:
        service.housekeeping.forget_images()
    return count
