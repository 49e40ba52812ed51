"""Refusals: a status, a code for programs, a message for people. Every error of the service has this format."""

from __future__ import annotations

from starlette.responses import JSONResponse

CODES = {
    400: "bad_request", 401: "unknown_key", 403: "forbidden", 404: "not_found", 405: "method", 408: "too_slow",
    409: "conflict", 413: "too_large", 415: "unsupported_type", 422: "invalid", 429: "too_many",
}  # fmt: skip
FAULT = "the service failed; its log says why."


class Refusal(Exception):
    """A request that is refused for a reason its sender can fix. `status` is 4xx."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """`{"error": {"code", "message"}}`."""
    code = CODES.get(status, "refused" if status < 500 else "fault")
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
