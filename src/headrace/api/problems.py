"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from headrace.api.heads import STREAMS
from headrace.errors import Bug, Denied, HeadraceError, Invalid, NotFound
from headrace.spec import problems

STATUS = {
    "invalid": 422,
    "not_found": 404,
    "conflict": 409,
    "precondition": 412,
    "denied": 403,
    "unavailable": 503,
    "too_many": 429,
    "bug": 500,
}
# 401: what was sent to prove who one is does not do.
_BY_CODE = {"unauthorized": 401, "wrong_login": 401, "unsupported_media_type": 415}
# What FastAPI says of a body that Python's parser refuses.
_UNREADABLE = "There was an error parsing the body"
# A request is not a spec, and who sends it has the API before them, not the command line.
_GUIDANCE = "Mend each problem. /api/docs describes every operation; a body is JSON, with content-type: application/json."
# Of a request, so many problems are told, with so much of each name; who sent a million wrong keys knows of some.
_MOST_TOLD = 50
_LONGEST_NAME = 200
_log = logging.getLogger(__name__)


def problem(error: HeadraceError, status: int | None = None, *, close: bool = False) -> JSONResponse:
    """The problem document of an error. Beside RFC 9457's fields it carries code, kind, guidance, context.

    close: end the connection after it, for the rest of the request is not read.
    """
    # What Kafka Connect answered is kept where it said so itself.
    code = status or error.context.get("http_status") or _BY_CODE.get(error.code) or STATUS[error.kind]
    body = {
        "type": f"urn:headrace:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": code,
        "detail": error.message,
        **error.as_dict(),
    }
    headers = {"www-authenticate": "Bearer"} if code == 401 else {}
    if close:
        headers["connection"] = "close"
    if retry_after := error.context.get("retry_after"):
        headers["retry-after"] = str(retry_after)
    return JSONResponse(jsonable_encoder(body), code, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make the application answer every error so."""
    app.add_exception_handler(HeadraceError, _ours)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unexpected)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    return problem(cast(HeadraceError, error))


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    raw = cast(RequestValidationError, error).errors()
    details = [cast(ErrorDetails, {**d, "loc": _place(d["loc"])}) for d in raw[:_MOST_TOLD]]
    invalid = problems.invalid(problems.from_details(details, None), "request", {})
    if left := len(raw) - len(details):
        said = f"{invalid.message}\nand {left} more"
        invalid = replace(invalid, message=said, context={**invalid.context, "left_out": left})
    return problem(replace(invalid, guidance=_GUIDANCE))


def _place(path: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(p[:_LONGEST_NAME] if isinstance(p, str) else p for p in path[path[0] == "body" :])


async def _http(request: Request, error: Exception) -> JSONResponse:
    raised = cast(HTTPException, error)
    if raised.status_code == 405:
        return _not_allowed(request)
    if raised.status_code == 400 and raised.detail == _UNREADABLE:
        return problem(
            Invalid("bad_body", "The body cannot be read", "Send JSON with numbers of a usual size.")
        )
    kinds: dict[int, Any] = {404: NotFound, 401: Denied, 403: Denied}
    kind = kinds.get(raised.status_code, Bug if raised.status_code >= 500 else Invalid)
    words = str(raised.detail).lower().replace(" ", "_")
    return problem(kind(words, str(raised.detail), "See /api/v1/openapi.json."), raised.status_code)


def _not_allowed(request: Request) -> JSONResponse:
    allowed = ", ".join(_methods(request))
    refused = Invalid(
        "method_not_allowed", f"{request.method} is not a method of this path", f"Use {allowed}."
    )
    answer = problem(refused, 405)
    answer.headers["allow"] = allowed
    return answer


def _methods(request: Request) -> list[str]:
    """What the path of a request takes; of files, which are mounted, only reading."""
    routes = [r for r in request.app.routes if not isinstance(r, Mount)]
    found = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(r.matches({**request.scope, "method": method})[0] == Match.FULL for r in routes)
    ] or ["GET"]
    return [*found, "HEAD"] if "GET" in found and request.url.path not in STREAMS else found


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    """The answer to a failure that is nobody's fault but ours; it goes into the log."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    said = Bug(
        "unexpected", "Headrace failed in a way it should not", "See the server's log; please report it."
    )
    return problem(said)
