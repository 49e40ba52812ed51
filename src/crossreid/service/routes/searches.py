"""The two searches: by uploaded images, and by entries of the gallery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import Depends, Form, Request

from crossreid.evaluation.calibration import Calibration
from crossreid.galleries.entries import Matches, modality_of, stacked
from crossreid.galleries.judging import Judgement, judge
from crossreid.service.batched_queries import best
from crossreid.service.forms import Files, FormModality, checked_ids, filter_fields
from crossreid.service.refusals import Refusal
from crossreid.service.routes.dependencies import CurrentService, needs, router_of_refusals
from crossreid.service.schemas import FilterIn, Match, QueryOut, Result, SearchIds, entry_out, threshold_out
from crossreid.service.search_service import SearchService
from crossreid.service.uploads import Uploads

router = router_of_refusals()


@router.post("/v1/search/images", tags=["search"], dependencies=needs("search"))
async def search_images(
    request: Request,
    service: CurrentService,
    images: Files,
    filter: Annotated[FilterIn, Depends(filter_fields)],
    modality: FormModality = "visible",
    k: Annotated[int, Form(ge=1)] = 10,
    prior: Annotated[float | None, Form(gt=0, lt=1)] = None,
) -> Result:
    """The entries nearest to an image, or to the average of several images of one identity (a tracklet).

    `prior`: the share of same-identity pairs that probabilities assume; by default that of the calibration.
    """
    _refuse_k(k, service)
    calibration = service.calibration_at(prior)
    chosen = filter.to_filter()
    sent = await Uploads.read(service, images)
    (embedding,) = await service.embed(await sent.inputs(), int(modality_of(modality)), as_set=True)
    found = await service.search(embedding, k, chosen)
    service.record(
        request, "search", sha256=sent.digests, modality=modality, k=k, filter=filter.conditions(),
        shown=list(found.ids), **_stated(prior),
    )  # fmt: skip
    own = await service.in_thread(service.pictures.of_files, found.entries, sent.contents)
    judgement = judge(
        calibration, found, modality_of(modality), service.threshold, as_set=len(images) > 1, own=own,
        entries=await service.size_to_judge(),
    )  # fmt: skip
    return await _result(request, service, found, QueryOut(sha256=sent.digests, ids=[]), own, judgement, calibration)


@router.post("/v1/search/ids", tags=["search"], dependencies=needs("search"))
async def search_ids(request: Request, service: CurrentService, asked: SearchIds) -> Result:
    """The entries nearest to one of the gallery, or to the average of several of one identity."""
    _refuse_k(asked.k, service)
    calibration = service.calibration_at(asked.prior)
    ids = checked_ids(list(dict.fromkeys(asked.ids)))
    chosen = asked.filter.to_filter()
    entries = await service.entries(ids)
    embedding = stacked(entries).mean(axis=0)
    if not np.linalg.norm(embedding) > 1e-6:
        raise Refusal(422, "the entries' embeddings cancel out; they are hardly of one identity. Use fewer.")
    without = [] if asked.include_queried else ids
    found = best(await service.search(embedding, asked.k + len(without), chosen), asked.k, without)
    service.record(
        request, "search", ids=ids, k=asked.k, filter=asked.filter.conditions(), shown=list(found.ids),
        **_stated(asked.prior),
    )  # fmt: skip
    own = [id in ids for id in found.ids]
    kinds = {entry.modality for entry in entries}
    judgement = judge(
        calibration, found, kinds.pop() if len(kinds) == 1 else None, service.threshold, as_set=len(ids) > 1, own=own,
        entries=await service.size_to_judge(),
    )  # fmt: skip
    return await _result(request, service, found, QueryOut(sha256=[], ids=ids), own, judgement, calibration)


def _stated(prior: float | None) -> dict[str, float]:
    """Its audit log entry: nothing if no prior was stated."""
    return {} if prior is None else {"prior": prior}


def _refuse_k(k: int, service: SearchService) -> None:
    if k > service.options.max_k:
        raise Refusal(422, f"k: expected at most {service.options.max_k}, found {k}.")


async def _result(
    request: Request, service: SearchService, found: Matches, query: QueryOut, own: Sequence[bool], judgement: Judgement,
    calibration: Calibration | None,
) -> Result:  # fmt: skip
    known = await service.in_thread(service.pictures.known, found.entries)
    accepted = [None] * len(found.ids) if judgement.accepted is None else judgement.accepted.tolist()
    rows = zip(found.scores, found.entries, known, own, judgement.probabilities.tolist(), accepted, strict=True)
    matches = [
        Match(
            rank=position + 1, score=float(score), entry=entry_out(entry, image), is_query=itself,
            probability=None if math.isnan(chance) else chance, accepted=good,
        )
        for position, (score, entry, image, itself, chance, good) in enumerate(rows)
    ]  # fmt: skip
    return Result(
        request=request.state.request, model=service.model.fingerprint, query=query, matches=matches,
        known=judgement.known, threshold=threshold_out(service.threshold),
        prior=None if calibration is None else calibration.prior, warning=judgement.warning,
    )  # fmt: skip
