"""The OpenAPI document: what FastAPI tells of the routes, and what all of them have in common."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from headrace.api.examples import BODIES
from headrace.auth import rights
from headrace.auth.gate import ACCESS_COOKIE

JSON = dict[str, Any]
BASE = "/api/v1"
_DESCRIPTION = """\
Headrace replicates databases continuously. Every operation of the product is here; the command line and the web pages
call nothing else.

**Entering.** `POST /auth/login` gives an access token (and a refresh token); send it as `Authorization: Bearer TOKEN`.
Programs take an API token (`POST /tokens`). Browsers log in with `cookies: true` and repeat the cookie `headrace_csrf` in
the header `X-CSRF-Token` on unsafe calls. Tokens of the OpenID Connect issuer in the server's settings are believed, too.

**Errors** are RFC 9457 problem documents with a stable `code`. **Lists** page with `limit` and `offset`. **Unsafe calls**
are done once however often they are repeated with the same `Idempotency-Key`. **Changes** are made only to what was read
with `If-Match: ETAG`. `X-Request-Id` is taken over into logs and answers. Paths below `/api` answer as those below `/api/v1`.
"""
_PROBLEM: JSON = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "detail", "code", "kind", "message", "guidance", "context"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; for programs"},
        "kind": {
            "type": "string",
            "enum": [
                "invalid", "not_found", "conflict", "precondition", "denied", "unavailable", "too_many", "bug",
            ],
        },
        "message": {"type": "string"},
        "guidance": {"type": "string", "description": "What to do next"},
        "context": {"type": "object", "additionalProperties": True},
    },
    "example": {
        "type": "urn:headrace:error:no_such_pipeline",
        "title": "no such pipeline",
        "status": 404,
        "detail": "There is no pipeline shop",
        "code": "no_such_pipeline",
        "kind": "not_found",
        "message": "There is no pipeline shop",
        "guidance": "See `headrace status`.",
        "context": {"name": "shop"},
    },
}  # fmt: skip
_SAID = {
    "400": "Malformed, or refused by Kafka Connect",
    "401": "Not proven who calls",
    "403": "Not allowed",
    "404": "Not there",
    "408": "The body did not come in time",
    "409": "Something else holds it, or it exists already",
    "412": "The world is not ready for it, or it was changed since it was read",
    "413": "The body is too large",
    "415": "The body is not JSON",
    "422": "What was sent is invalid",
    "429": "Asked too often",
    "500": "Headrace failed, or Kafka Connect did",
    "503": "Something cannot be reached now",
}
_UNSAFE = ("post", "put", "patch", "delete")


def install(app: FastAPI) -> None:
    """Have the application tell this document."""

    def document() -> JSON:
        if not app.openapi_schema:
            app.openapi_schema = described(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """``pipelines_create``: the tag and the function."""
    tag = str(route.tags[0]) if route.tags else "page"
    return f"{tag}_{route.name}".replace(" ", "_")


def described(app: FastAPI) -> JSON:
    """The whole document."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for path, item in found["paths"].items():
        for method, operation in item.items():
            _complete(operation, method, path.removeprefix(BASE))
    parts = found.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    parts["responses"] = {f"Problem{status}": _answer(words) for status, words in _SAID.items()}
    parts["parameters"] = {"IdempotencyKey": _IDEMPOTENCY, "RequestId": _REQUEST_ID}
    parts["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A session's, an API or an issuer's token",
        },
        "cookie": {"type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE},
    }
    return found


def _complete(operation: JSON, method: str, path: str) -> None:
    needed = rights.ROUTES.get(f"{method.upper()} {path}", rights.OWN)
    public = needed in (rights.PUBLIC, rights.ALIVE)
    operation["security"] = [] if public else [{"bearer": []}, {"cookie": []}]
    operation["x-permission"] = needed
    parameters = operation.setdefault("parameters", [])
    parameters.append({"$ref": "#/components/parameters/RequestId"})
    if method in _UNSAFE and not public:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if body := operation.get("requestBody"):
        body["content"]["application/json"]["example"] = BODIES[f"{method.upper()} {path}"]
    responses = operation["responses"]
    responses.pop("422", None)
    for status in _SAID:
        if _possible(status, method, path, public, body is not None):
            responses.setdefault(status, {"$ref": f"#/components/responses/Problem{status}"})


def _possible(status: str, method: str, path: str, public: bool, takes_body: bool) -> bool:
    connect = re.match(r"/(connectors|connector-plugins|validate/debezium)", path) is not None
    match status:
        case "400" | "500":
            return connect
        case "401" | "403":
            return not public or path.startswith("/auth/")
        case "408" | "413":
            return method in ("post", "put", "patch")
        case "415":
            return takes_body
        case _:
            return True


def _answer(words: str) -> JSON:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": schema}}}


_IDEMPOTENCY: JSON = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating the call with the same key does it once; the first answer is given again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_REQUEST_ID: JSON = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Taken over into logs and the answer; made when it is not given",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
