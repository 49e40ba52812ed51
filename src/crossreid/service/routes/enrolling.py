"""Enrolling images as entries of the gallery."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Form, Request

from crossreid.galleries.entries import Entries, modality_of
from crossreid.service.forms import Files, FormModality, checked_ids, taken_at
from crossreid.service.kept_images import KEPT_SIDE
from crossreid.service.pictures import as_jpeg
from crossreid.service.refusals import Refusal
from crossreid.service.routes.dependencies import CurrentService, needs, router_of_refusals
from crossreid.service.schemas import Ids
from crossreid.service.search_service import SearchService
from crossreid.service.uploads import Uploads

router = router_of_refusals()


@router.post("/v1/entries", tags=["gallery"], status_code=201, dependencies=needs("enrol"))
async def enrol(
    request: Request,
    service: CurrentService,
    images: Files,
    modality: FormModality = "visible",
    camera: Annotated[int, Form(ge=0, lt=2**31)] = 0,
    identity: Annotated[str | None, Form()] = None,
    time: Annotated[str | None, Form(description="ISO 8601, UTC unless a zone is named.")] = None,
    source: Annotated[str, Form()] = "",
    id: Annotated[list[str] | None, Form(description="One per image; generated if none is given.")] = None,
    replace: Annotated[bool, Form(description="Replace entries with these ids.")] = False,
) -> Ids:
    """Add images to the gallery, one entry each; once this has answered they are stored."""
    count = len(images)
    ids = checked_ids(id or [""] * count)
    if len(ids) != count:
        raise Refusal(422, f"id: expected one for each of {count} images, found {len(ids)}.")
    taken = taken_at(time)
    sent = await Uploads.read(service, images)
    inputs = await sent.inputs()
    copies: list[bytes] = []
    if service.options.keep_images:
        copies = await sent.decoded((KEPT_SIDE, KEPT_SIDE), partial(as_jpeg, side=KEPT_SIDE))
    kind = int(modality_of(modality))
    embeddings = await service.embed(inputs, kind, as_set=False)
    entries = Entries(
        embeddings, ids=ids, identities=[identity or None] * count, cameras=[camera] * count, modalities=[kind] * count,
        times=None if taken is None else [taken] * count, sources=[source] * count,
    )  # fmt: skip
    service.record(request, "enrol", ids=entries.ids, sha256=sent.digests, identity=identity, replace=replace)
    # Ids generated here are unique, so no lookup is needed, which in a cluster takes longer than adding them.
    given = any(id or ())
    keep = partial(_keep, service, entries, copies, replace, given=given)
    return Ids(ids=await service.write(keep, deletes=replace, ids=entries.ids if given else ()))


def _keep(service: SearchService, entries: Entries, copies: list[bytes], replace: bool, *, given: bool) -> list[str]:
    """Add the entries, then their images' copies; returns the ids. `given` ids may be taken already."""
    gallery, kept = service.gallery, service.kept
    if not given:
        added = gallery.upsert(entries, model=service.model.fingerprint)
        if kept is not None:
            kept.put(list(zip(added, copies, strict=False)))
        return added
    # First, as an entry without an image is better than one with another entry's image.
    if kept is not None and (replace or not gallery.known(entries.ids)):
        kept.delete(entries.ids)
    added = (gallery.upsert if replace else gallery.add)(entries, model=service.model.fingerprint)
    if kept is not None:
        kept.put(list(zip(added, copies, strict=False)))  # there are none if images are no longer kept
    return added
