"""What routes share: the service they call, the keys and roles they need, the format of their refusals."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import HTTPBearer

from crossreid.service.keys import Role
from crossreid.service.refusals import Refusal
from crossreid.service.schemas import ErrorOut
from crossreid.service.search_service import SearchService

ANY_KEY: list[Any] = [Depends(HTTPBearer(auto_error=False, description="A key made by `crossreid keys add`."))]
Id = Annotated[str, Query(min_length=1, max_length=512, description="Id of an entry.")]


async def _current_service(request: Request) -> SearchService:
    service: SearchService = request.app.state.service
    return service


CurrentService = Annotated[SearchService, Depends(_current_service)]


def router_of_refusals() -> APIRouter:
    """A router whose routes document their refusals in the OpenAPI document."""
    refused = {"model": ErrorOut, "description": "Refused; the message says why and what to do."}
    return APIRouter(responses={"4XX": refused})


def needs(role: Role) -> list[Any]:
    """Dependencies of a route open to keys of a role: others are refused (403), and the audit log records it.

    The guard has already found the key; the header is named here too for the OpenAPI document.
    """

    async def check(request: Request, service: CurrentService) -> None:
        key = request.state.key
        if not key.may(role):
            service.record(request, "refused", needs=role, path=request.url.path)
            raise Refusal(403, f"the key {key.name!r} has the roles {', '.join(key.roles)}, and this needs {role}.")

    return [*ANY_KEY, Depends(check)]
