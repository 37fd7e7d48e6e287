"""The class of every route: asks who calls, whether they may, and lets the call act in their name."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from headrace.actor import Actor, acting
from headrace.api.once import once
from headrace.api.request_ids import pipeline_of
from headrace.auth import rights
from headrace.auth.gate import Gate, Knock
from headrace.auth.principal import Principal
from headrace.errors import Invalid

_JSON = re.compile(r"application/([\w.+-]+\+)?json")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Guarded(APIRoute):
    """A route that only those may use whom ``auth.rights`` lets; the principal is in ``request.state.principal``."""

    def get_route_handler(self) -> Handler:
        """The route's own handler behind the guard."""
        handler = super().get_route_handler()
        (method,) = (self.methods or set()) - {"HEAD"}
        permission = rights.needed(method, self.path_format)
        takes_json = self.body_field is not None

        async def guarded(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            knocked = knock(request)
            with acting(actor(request, None)):
                if gate.at_hand(knocked, permission):
                    principal = gate.enter(knocked, permission)
                else:
                    principal = await run_in_threadpool(gate.enter, knocked, permission)
            request.state.principal = principal
            if takes_json:
                require_json(request.headers)
            with acting(actor(request, principal)):
                if principal is None:
                    return await handler(request)
                return await once(request, principal.login, request.app.state.store, handler)

        return guarded


def require_json(headers: Mapping[str, str]) -> None:
    """Nothing where there is no body, or one of JSON; Invalid ``unsupported_media_type`` else."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if empty or _JSON.fullmatch(kind):
        return
    raise Invalid(
        "unsupported_media_type",
        f"The body is {kind[:100]}, not JSON" if kind else "The body does not say that it is JSON",
        "Send JSON, with content-type: application/json.",
    )


def knock(request: HTTPConnection) -> Knock:
    """What the request carries that the gate looks at."""
    return Knock(
        method=request.scope.get("method", "GET"),
        authorization=request.headers.get("authorization", ""),
        cookies=request.cookies,
        csrf=request.headers.get("x-csrf-token", ""),
        origin=request.headers.get("origin", ""),
        host=request.headers.get("host", ""),
        address=address_of(request),
    )


def address_of(request: HTTPConnection) -> str:
    """The client's address, "" where it has none (a Unix socket)."""
    return request.client.host if request.client else ""


def actor(request: Request, principal: Principal | None) -> Actor:
    """In whose name the request acts."""
    return Actor(
        user=principal.id if principal else None,
        name=principal.name if principal else "",
        address=address_of(request),
        request_id=getattr(request.state, "request_id", ""),
        pipeline=pipeline_of(request.scope),
    )
