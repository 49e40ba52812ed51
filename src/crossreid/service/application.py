"""The application: the routes, the page, and one format for all errors, behind the guard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.responses import Response

import crossreid
from crossreid.errors import CrossreidError
from crossreid.galleries.errors import EntryExists, GalleryFault
from crossreid.service.guard import Guard
from crossreid.service.keys import Keys
from crossreid.service.refusals import FAULT, Refusal, answer
from crossreid.service.routes import ROUTERS
from crossreid.service.search_service import SearchService

PAGE = Path(__file__).with_name("page")
_log = logging.getLogger("crossreid.service")


def create_app(service: SearchService, keys: Keys | None) -> Guard:
    """The service as an ASGI application. With `keys` None no key is needed, and only this machine is served."""
    # Uploads stay in memory, which is bounded: images of people must not end up in a folder for temporary files.
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, service.options.max_bytes)
    app = FastAPI(
        title="crossreid", version=crossreid.__version__, docs_url=None, redoc_url=None, lifespan=service.running,
        description="Find the same identity in images of the other modality and from other cameras.",
    )  # fmt: skip
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(CrossreidError, _wrong)
    app.add_exception_handler(GalleryFault, _unavailable)
    app.add_exception_handler(Exception, _fault)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.api_route("/watch", methods=["GET", "HEAD"], include_in_schema=False)
    async def watch_page() -> FileResponse:
        return FileResponse(PAGE / "watch.html")

    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")
    return Guard(app, service.options, keys, service.audit, service.metrics, service.siblings)


async def _refused(_: Request, error: Any) -> Response:
    return answer(error.status, error.message, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in each['loc'][1:]) or 'body'}: {each['msg']}" for each in error.errors()]
    return answer(422, "; ".join(wrong[:5]) + ".")


async def _http(_: Request, error: Any) -> Response:
    return answer(error.status_code, f"{error.detail}.", dict(error.headers or {}))


async def _wrong(_: Request, error: Any) -> Response:
    """Errors of the library that are written for users: a conflict with existing data, or an invalid value."""
    return answer(409 if isinstance(error, EntryExists) else 422, str(error))


async def _unavailable(request: Request, error: Any) -> Response:
    """A client cannot repair a failing disk or database, and must not see its path."""
    _log.error("%s %s: %s", request.method, request.url.path, error)
    return answer(503, "the gallery cannot be read or written now; the service's log says why. Try again later.")


async def _fault(request: Request, error: Exception) -> Response:
    """Anything else is a bug or a failure of the service, including a ValueError of another library; its text goes to the log only."""
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    return answer(500, FAULT)
