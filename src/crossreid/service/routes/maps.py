"""Why a query and an entry match: maps of both images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import Form, Request, UploadFile

from crossreid.galleries.entries import modality_of
from crossreid.service.forms import FormModality, OneFile, checked_ids
from crossreid.service.kept_images import KEPT_SIDE
from crossreid.service.refusals import Refusal
from crossreid.service.routes.dependencies import CurrentService, needs, router_of_refusals
from crossreid.service.schemas import AttentionOut, MapKind, Maps
from crossreid.service.search_service import SearchService
from crossreid.service.uploads import Uploads

router = router_of_refusals()


@dataclass(frozen=True, eq=False, slots=True)
class _Side:
    """One of the two images: pixels `(H, W, 3)` uint8, modality, embedding `(D,)`."""

    pixels: np.ndarray
    modality: int
    embedding: np.ndarray


@router.post("/v1/attention", tags=["search"], dependencies=needs("search"))
async def attention(
    request: Request,
    service: CurrentService,
    id: Annotated[str, Form(min_length=1, max_length=512)],
    image: OneFile = None,
    modality: FormModality = "visible",
    query_id: Annotated[str | None, Form(min_length=1, max_length=512)] = None,
    maps: Annotated[MapKind, Form()] = "grad-cam",
) -> AttentionOut:
    """Where the similarity of a query and an entry comes from: a map of each image towards the other (`grad-cam`).

    With `rollout`, where a transformer looks, regardless of the other image; a network without rollout falls back to Grad-CAM.
    `kind` of each map says which it is; `/v1/about` lists the available kinds.
    """
    explainer = service.explainer
    if explainer is None:
        raise Refusal(
            409,
            f"this service has no gradients (engine {service.model.runtime}), so no maps. Serve the run with torch.",
        )
    if (image is None) == (query_id is None):
        raise Refusal(422, "expected either image or query_id.")
    match, *others = await _stored(service, checked_ids([id] if query_id is None else [id, query_id]))
    if image is not None:
        query, facts = await _sent(service, image, int(modality_of(modality)))
    else:
        (query,) = others
        facts = {"ids": [query_id]}

    def explain() -> tuple[Maps, Maps]:
        return (
            explainer.maps(query.pixels, query.modality, match.embedding, maps),
            explainer.maps(match.pixels, match.modality, query.embedding, maps),
        )

    of_query, of_match = await service.explain(request, explain)
    service.record(request, "attention", **facts, shown=[id])
    similarity = float(np.dot(query.embedding, match.embedding))
    return AttentionOut(similarity=similarity, query=of_query, match=of_match)


async def _stored(service: SearchService, ids: list[str]) -> list[_Side]:
    """Entries with their images. Raises `Refusal` (404) naming the first that does not exist or has no image."""
    sides: list[_Side] = []
    for id, entry in zip(ids, await service.entries(ids), strict=True):
        pixels = await service.decode(service.pictures.pixels, entry)
        if pixels is None:
            raise Refusal(404, f"there is no image of {id[:200]!r}, so there is no map.")
        sides.append(_Side(pixels, int(entry.modality), np.asarray(entry.embedding)))
    return sides


async def _sent(service: SearchService, image: UploadFile, modality: int) -> tuple[_Side, dict[str, Any]]:
    """An uploaded image, and its audit log entry."""
    sent = await Uploads.read(service, [image])
    (pixels,) = await sent.decoded((KEPT_SIDE, KEPT_SIDE), lambda pixels: pixels)
    (embedding,) = await service.embed(await sent.inputs(), modality, as_set=False)
    return _Side(pixels, modality, embedding), {"sha256": sent.digests}
