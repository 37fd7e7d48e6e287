"""Every request has an id, which goes through logs, store and worker; and leaves a line in the log."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.actor import Actor, acting
from headrace.monitor.traffic import Traffic

HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("headrace.access")


class RequestIds:
    """The outermost of all: gives the id, and notes what became of the request."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        id_ = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = id_
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = id_
            await send(message)

        client = scope.get("client")
        with acting(Actor(address=client[0] if client else "", request_id=id_)):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["type"] != "http":
            return
        # Not the path itself: names of routes are few.
        route = getattr(scope.get("route"), "path", "") or "other"
        self._traffic.note(scope["method"], route, status, seconds)
        if not _log.isEnabledFor(logging.INFO):
            return
        principal = scope["state"].get("principal")
        about = {"pipeline": pipeline} if (pipeline := pipeline_of(scope)) else {}
        _log.info(
            "%s %s %d",
            scope["method"],
            scope["path"],
            status,
            extra={
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "principal": principal.name if principal else None,
                **about,
            },
        )


def pipeline_of(scope: Scope) -> str:
    """The pipeline that a request is about, as its path names it; "" where it is about none."""
    route = getattr(scope.get("route"), "path", "")
    return str(scope.get("path_params", {}).get("id", "")) if "/pipelines/{id}" in route else ""
