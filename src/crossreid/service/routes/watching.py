"""Who was where: the timeline of a watch, its identities with their crops, and people's corrections.

Viewing needs the role `watch`, correcting the role `merge`; the role `search` includes neither. Whose presence was shown to
whom is in the audit log before the answer is sent.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from crossreid.service import watch_schemas as schemas
from crossreid.service.refusals import Refusal
from crossreid.service.routes.dependencies import CurrentService, needs, router_of_refusals
from crossreid.service.search_service import SearchService
from crossreid.service.watch_folder import WatchFolder

router = router_of_refusals()
Seconds = Annotated[float | None, Query(allow_inf_nan=False, description="Seconds, as in events.")]
Number = Annotated[int, Path(ge=1, lt=2**63)]


async def _current_watch(service: CurrentService) -> WatchFolder:
    if service.watch is None:
        raise Refusal(404, "this service shows no watch; its operator starts it with --watch WATCH to show one.")
    return service.watch


CurrentWatch = Annotated[WatchFolder, Depends(_current_watch)]


@router.get("/v1/watch/timeline", tags=["watch"], dependencies=needs("watch"))
async def timeline(
    request: Request,
    service: CurrentService,
    watch: CurrentWatch,
    since: Seconds = None,
    until: Seconds = None,
    camera: Annotated[
        list[str] | None, Query(max_length=1000, description="Names of cameras; all if none is given.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2000,
) -> schemas.Timeline:
    """Who was in view of which camera, from when to when."""
    found = await service.in_thread(partial(watch.timeline, since, until, cameras=camera, limit=limit))
    shown = sorted({presence.identity for presence in found.presences})
    service.record(request, "watch timeline", since=since, until=until, cameras=camera, shown=shown)
    return found


@router.get("/v1/watch/events", tags=["watch"], dependencies=needs("watch"))
async def events(
    request: Request,
    service: CurrentService,
    watch: CurrentWatch,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> schemas.Events:
    """The events with a number above `after`, in order: ask again with `latest` for newer ones."""
    found = await service.in_thread(watch.events, after, limit)
    if found.events:
        service.record(
            request, "watch events", after=after, shown=sorted({event["identity"] for event in found.events})
        )
    return found


@router.get("/v1/watch/identities", tags=["watch"], dependencies=needs("watch"))
async def identities(request: Request, service: CurrentService, watch: CurrentWatch) -> schemas.Identities:
    """All identities that were seen."""
    found = await service.in_thread(watch.identities)
    service.record(request, "watch identities", shown=[each.identity for each in found.identities])
    return found


@router.get("/v1/watch/identities/{id}", tags=["watch"], dependencies=needs("watch"))
async def identity(
    request: Request,
    service: CurrentService,
    watch: CurrentWatch,
    id: Annotated[schemas.IdentityId, Path()],
) -> schemas.IdentityTracks:
    """Where else an identity was seen: its tracks, with their key frames."""
    found = await service.in_thread(watch.identity, id)
    service.record(request, "watch identity", asked=id, shown=[found.identity])
    return found


@router.get(
    "/v1/watch/crops/{track}", tags=["watch"], dependencies=needs("watch"), response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)  # fmt: skip
async def crop(
    request: Request,
    service: CurrentService,
    watch: CurrentWatch,
    track: Number,
    index: Annotated[
        int | None, Query(ge=0, lt=2**63, description="Index of a key frame; the best one by default.")
    ] = None,
) -> Response:
    """A key frame of a track as JPEG."""
    found = await service.in_thread(watch.crop, track, index)
    service.record(request, "watch crop", track=track, index=found.index, shown=[found.identity])
    return Response(found.jpeg, media_type="image/jpeg")


@router.post("/v1/watch/merge", tags=["watch"], dependencies=needs("merge"))
async def merge(
    request: Request, response: Response, service: CurrentService, watch: CurrentWatch, which: schemas.MergeIn
) -> schemas.RequestOut:
    """Merge two identities; kept as a mark for training, with the key's name. 202 if the watching process has yet to do it."""
    service.record(request, "watch merge", into=which.into, other=which.other)
    return await _corrected(response, service, partial(watch.merge, which.into, which.other, _who(request)))


@router.post("/v1/watch/split", tags=["watch"], dependencies=needs("merge"))
async def split(
    request: Request, response: Response, service: CurrentService, watch: CurrentWatch, which: schemas.SplitIn
) -> schemas.RequestOut:
    """Split tracks that show someone else off an identity; kept and answered like a merge."""
    service.record(request, "watch split", identity=which.identity, tracks=which.tracks)
    return await _corrected(response, service, partial(watch.split, which.identity, which.tracks, _who(request)))


@router.get("/v1/watch/requests/{number}", tags=["watch"], dependencies=needs("merge"))
async def asked(service: CurrentService, watch: CurrentWatch, number: Number) -> schemas.RequestOut:
    """The outcome of a merge or split that was answered 202."""
    return await service.in_thread(watch.asked, number)


def _who(request: Request) -> str:
    name: str = request.state.key.name
    return name


async def _corrected(
    response: Response, service: SearchService, change: partial[schemas.RequestOut]
) -> schemas.RequestOut:
    done = await service.in_thread(change)
    if done.state == "refused":
        raise Refusal(409, done.refused or "it contradicts what is known.")
    if done.state == "asked":
        response.status_code = 202
    return done
