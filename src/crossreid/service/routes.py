"""What can be asked of the service, and in what words it answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Form, Query, Request, Response, UploadFile
from fastapi.security import HTTPBearer
from torch import Tensor

import crossreid
from crossreid.galleries.entries import Entries as GalleryEntries
from crossreid.galleries.entries import Matches, stacked
from crossreid.galleries.values import modality_of
from crossreid.service.pictures import KEPT_SIDE, as_jpeg
from crossreid.service.refusals import Refusal
from crossreid.service.schemas import (
    AttentionOut,
    Deleted,
    DeleteIn,
    Entries,
    EntryOut,
    ErrorOut,
    Files,
    FilterIn,
    FormModality,
    Ids,
    Maps,
    Match,
    OneFile,
    QueryOut,
    Result,
    SearchIds,
    checked_ids,
    entry_out,
    filter_fields,
    first,
    refuse_more,
    taken_at,
)  # fmt: skip
from crossreid.service.service import Service
from crossreid.service.settings import FORMATS, Role
from crossreid.service.uploads import pixels_of

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "Refused; the message says why and what to do."}
}
Made = TypeVar("Made")
_SHOWN = (KEPT_SIDE, KEPT_SIDE)
Id = Annotated[str, Query(min_length=1, max_length=512, description="Of an entry.")]


def routes(service: Service) -> APIRouter:
    """The routes of a service."""
    router = APIRouter(responses=REFUSALS)
    settings, gallery, model = service.settings, service.gallery, service.model

    any_key = [Depends(HTTPBearer(auto_error=False, description="A key that `crossreid keys add` made."))]

    def role(needed: Role) -> list[Any]:
        async def check(request: Request) -> None:
            service.require(request, needed)

        return [*any_key, Depends(check)]

    async def read(files: list[UploadFile]) -> tuple[list[bytes], list[str]]:
        """The content of each file, and its SHA-256."""
        refuse_more(len(files), settings.max_images, "images")
        contents = [await file.read() for file in files]
        return contents, [hashlib.sha256(content).hexdigest() for content in contents]

    async def decoded(
        files: list[UploadFile], contents: list[bytes], size: tuple[int, int], make: Callable[[np.ndarray], Made]
    ) -> list[Made]:
        """What `make` makes of each image, of this height and width at least where it has them."""

        def one(content: bytes, name: str) -> Made:
            return make(pixels_of(content, name, settings.max_pixels, size))

        names = [file.filename or "" for file in files]
        return await asyncio.gather(*map(partial(service.decode, one), contents, names))

    async def tensors_of(files: list[UploadFile], contents: list[bytes]) -> list[Tensor]:
        """Input of the network, made as `crossreid embed` makes it: a large JPEG is decoded at a fraction of its size."""
        size = (model.preprocessing.height, model.preprocessing.width)
        return await decoded(files, contents, size, model.transform)

    async def result(request: Request, found: Matches, query: QueryOut) -> Result:
        known = await service.thread(service.pictures.known, found.entries)
        matches = [
            Match(rank=at + 1, score=float(score), entry=entry_out(entry, image))
            for at, (score, entry, image) in enumerate(zip(found.scores, found.entries, known, strict=True))
        ]
        return Result(request=request.state.request, model=model.fingerprint, query=query, matches=matches)

    def refuse_k(k: int) -> None:
        if k > settings.max_k:
            raise Refusal(422, f"k: expected at most {settings.max_k}, found {k}.")

    @router.get("/v1/health", tags=["service"])
    async def health() -> dict[Literal["status"], Literal["ok"]]:
        """Answers while the service does. Needs no key."""
        return {"status": "ok"}

    @router.get("/v1/about", tags=["service"], dependencies=any_key)
    async def about(request: Request) -> dict[str, Any]:
        """Who the key is and what it may; the model; the limits."""
        key = request.state.key
        size = model.preprocessing
        return {
            "name": key.name, "roles": list(key.roles), "version": crossreid.__version__,
            "model": {
                "fingerprint": model.fingerprint, "method": model.method, "dimension": model.dimension,
                "height": size.height, "width": size.width, "runtime": model.runtime, "precision": model.precision,
            },
            "attention": service.explainer is not None, "retention_days": settings.retain_days,
            "limits": {
                "images": settings.max_images, "bytes": settings.max_bytes, "pixels": settings.max_pixels,
                "k": settings.max_k, "formats": list(FORMATS),
            },
        }  # fmt: skip

    @router.get("/v1/stats", tags=["gallery"], dependencies=role("search"))
    async def stats() -> dict[str, Any]:
        """What the gallery holds."""
        told = await service.thread(gallery.stats)
        return {name: getattr(told, name) for name in told.__dataclass_fields__}

    @router.get("/v1/sample", tags=["gallery"], dependencies=role("search"))
    async def sample(
        request: Request,
        count: Annotated[int, Query(ge=1, le=100)] = 12,
        seed: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    ) -> Entries:
        """Entries drawn from the gallery, to start from."""
        entries = await service.thread(gallery.sample, count, seed)
        service.told(request, "sample", shown=[entry.id for entry in entries])
        known = await service.thread(service.pictures.known, entries)
        return Entries(entries=[entry_out(entry, image) for entry, image in zip(entries, known, strict=True)])

    @router.get("/v1/entry", tags=["gallery"], dependencies=role("search"))
    async def entry(request: Request, id: Id) -> EntryOut:
        """What is known of an entry."""
        (found,) = await service.entries(checked_ids([id]))
        service.told(request, "entry", shown=[id])
        (known,) = await service.thread(service.pictures.known, [found])
        return entry_out(found, known)

    @router.get(
        "/v1/image", tags=["gallery"], dependencies=role("search"), response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def image(request: Request, id: Id, size: Annotated[int, Query(ge=64, le=1024)] = 384) -> Response:
        """The image of an entry as JPEG, its longer side `size` pixels at most, without what a camera wrote into it."""
        (found,) = await service.entries(checked_ids([id]))
        pixels = await service.decode(service.pictures.pixels, found)
        if pixels is None:
            raise Refusal(404, f"there is no image of {id[:200]!r} that can be shown.")
        service.told(request, "image", shown=[id])
        return Response(await service.decode(as_jpeg, pixels, size), media_type="image/jpeg")

    @router.post("/v1/search/images", tags=["search"], dependencies=role("search"))
    async def search_images(
        request: Request,
        images: Files,
        filter: Annotated[FilterIn, Depends(filter_fields)],
        modality: FormModality = "visible",
        k: Annotated[int, Form(ge=1)] = 10,
    ) -> Result:
        """The entries nearest to an image, or to several of one identity (a tracklet), which are averaged."""
        refuse_k(k)
        chosen = filter.to_filter()
        contents, digests = await read(images)
        tensors = await tensors_of(images, contents)
        (embedding,) = await service.embed(tensors, int(modality_of(modality)), as_set=True)
        found = await service.search(embedding, k, chosen)
        service.told(
            request, "search", sha256=digests, modality=modality, k=k, filter=filter.told(), shown=list(found.ids)
        )
        return await result(request, found, QueryOut(sha256=digests, ids=[]))

    @router.post("/v1/search/ids", tags=["search"], dependencies=role("search"))
    async def search_ids(request: Request, asked: SearchIds) -> Result:
        """The entries nearest to one of the gallery, or to several of one identity, which are averaged."""
        refuse_k(asked.k)
        ids = checked_ids(list(dict.fromkeys(asked.ids)))
        chosen = asked.filter.to_filter()
        embeddings = stacked(await service.entries(ids)).mean(axis=0)
        if not np.linalg.norm(embeddings) > 1e-6:
            raise Refusal(422, "the entries' embeddings cancel out; they are hardly of one identity. Ask with fewer.")
        without = [] if asked.include_queried else ids
        found = first(await service.search(embeddings, asked.k + len(without), chosen), asked.k, without)
        service.told(request, "search", ids=ids, k=asked.k, filter=asked.filter.told(), shown=list(found.ids))
        return await result(request, found, QueryOut(sha256=[], ids=ids))

    @router.post("/v1/attention", tags=["search"], dependencies=role("search"))
    async def attention(
        request: Request,
        id: Annotated[str, Form(min_length=1, max_length=512)],
        image: OneFile = None,
        modality: FormModality = "visible",
        query_id: Annotated[str | None, Form(min_length=1, max_length=512)] = None,
    ) -> AttentionOut:
        """Where in a query and in an entry their similarity comes from: maps of either towards the other (Grad-CAM)."""
        if service.explainer is None:
            raise Refusal(
                409, "this service has no gradients (runtime onnx), and so no maps. Serve the run with torch."
            )
        if (image is None) == (query_id is None):
            raise Refusal(422, "expected either image or query_id.")
        names = checked_ids([id] if query_id is None else [id, query_id])
        entries = await service.entries(names)
        shown: list[np.ndarray] = []
        for name, entry in zip(names, entries, strict=True):
            picture = await service.decode(service.pictures.pixels, entry)
            if picture is None:
                raise Refusal(404, f"there is no image of {name[:200]!r}, and so no map.")
            shown.append(picture)
        if image is not None:
            contents, digests = await read([image])
            (pixels,) = await decoded([image], contents, _SHOWN, lambda pixels: pixels)
            kind = int(modality_of(modality))
            (embedding,) = await service.embed(await tensors_of([image], contents), kind, as_set=False)
            asked: dict[str, Any] = {"sha256": digests}
        else:
            pixels, kind, embedding = shown[1], int(entries[1].modality), np.asarray(entries[1].embedding)
            asked = {"ids": [query_id]}
        match = entries[0]
        towards = np.asarray(match.embedding)
        maps = service.explainer.maps

        def explain() -> tuple[Maps, Maps]:
            return maps(pixels, kind, towards), maps(shown[0], int(match.modality), embedding)

        query, other = await service.explain(request, explain)
        service.told(request, "attention", **asked, shown=[id])
        return AttentionOut(similarity=float(np.dot(embedding, towards)), query=query, match=other)

    @router.post("/v1/entries", tags=["gallery"], status_code=201, dependencies=role("enrol"))
    async def enrol(
        request: Request,
        images: Files,
        modality: FormModality = "visible",
        camera: Annotated[int, Form(ge=0, lt=2**31)] = 0,
        identity: Annotated[str | None, Form()] = None,
        time: Annotated[str | None, Form(description="ISO 8601, UTC unless a zone is named.")] = None,
        source: Annotated[str, Form()] = "",
        id: Annotated[list[str] | None, Form(description="One an image; generated where none is given.")] = None,
        replace: Annotated[bool, Form(description="Replace entries of these ids.")] = False,
    ) -> Ids:
        """Add images to the gallery, an entry each; when this has answered they are kept."""
        ids = checked_ids(id or [""] * len(images))
        if len(ids) != len(images):
            raise Refusal(422, f"id: expected one for each of {len(images)} images, found {len(ids)}.")
        taken = taken_at(time)
        contents, digests = await read(images)
        tensors = await tensors_of(images, contents)
        copies: list[bytes] = []
        if settings.keep_images:
            copies = await decoded(images, contents, _SHOWN, partial(as_jpeg, side=KEPT_SIDE))
        kind = int(modality_of(modality))
        embeddings = await service.embed(tensors, kind, as_set=False)
        count = len(images)
        entries = GalleryEntries(
            embeddings, ids=ids, identities=[identity or None] * count, cameras=[camera] * count, modalities=[kind] * count,
            times=None if taken is None else [taken] * count, sources=[source] * count,
        )  # fmt: skip

        def keep() -> list[str]:
            kept = service.kept
            # First, as an entry without an image is better than one with another's.
            if kept is not None and (replace or not gallery.known(entries.ids)):
                kept.delete(entries.ids)
            added = (gallery.upsert if replace else gallery.add)(entries, model=model.fingerprint)
            if kept is not None:
                kept.put(list(zip(added, copies, strict=False)))
            return added

        service.told(request, "enrol", ids=entries.ids, sha256=digests, identity=identity, replace=replace)
        return Ids(ids=await service.write(keep, deletes=replace))

    @router.post("/v1/entries/delete", tags=["gallery"], dependencies=role("admin"))
    async def delete(request: Request, which: DeleteIn) -> Deleted:
        """Delete entries and their kept images; they are found no more once this has answered."""
        chosen = None if which.filter is None else which.filter.to_filter()

        def remove() -> int:
            count = gallery.delete(which.ids, filter=chosen)
            if service.kept is not None and which.ids is not None:
                service.kept.delete(which.ids)
            elif service.kept is not None:
                service.housekeeping.forget_images()
            return count

        told = None if which.filter is None else which.filter.told()
        service.told(request, "delete", ids=which.ids, filter=told)
        return Deleted(deleted=await service.write(remove, deletes=True))

    @router.post("/v1/compact", tags=["gallery"], dependencies=role("admin"))
    async def compact(request: Request) -> dict[Literal["bytes"], int | None]:
        """Remove now from the files all that is left of deleted entries and images; else it is done within the hour."""
        service.told(request, "compact")
        await service.thread(service.housekeeping.compact)
        return {"bytes": (await service.thread(gallery.stats)).bytes}

    @router.get(
        "/metrics", tags=["service"], dependencies=any_key, response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )  # fmt: skip
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(
            await service.thread(service.metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return router
