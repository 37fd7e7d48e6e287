"""What stands around every request: the Host header (against DNS rebinding), aliases, headers for browsers, bugs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.problems import problem, unexpected
from headrace.errors import Denied

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
_SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
# Half a year; other names of the domain are not ours to speak of.
_HTTPS = {"strict-transport-security": "max-age=15552000"}

_OWN = ("/api/v1/", "/api/docs", "/api/redoc")


class Aliases:
    """``/api/...`` answers as ``/api/v1/...`` does, and ``/metrics`` as ``/api/v1/metrics``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its full path."""
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            if path == "/metrics":
                scope = {**scope, "path": "/api/v1/metrics"}
            elif path.startswith("/api/") and not path.startswith(_OWN):
                scope = {**scope, "path": "/api/v1/" + path.removeprefix("/api/")}
        await self._app(scope, receive, send)


class Bugs:
    """Answers what nobody expected, as long as nothing is answered yet: Starlette would from outside of all others.

    Its answer would lack their headers, and uvicorn would cut the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            await (await unexpected(Request(scope), error))(scope, receive, send)


class Hosts:
    """Refuse requests for other names than ours, and add security headers to every answer.

    A page elsewhere can point its own name at 127.0.0.1; the Host header gives it away.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str] | None, https: bool = False) -> None:
        self._app = app
        self._headers = {**_SECURITY, **(_HTTPS if https else {})}
        self._allowed = frozenset(allowed) if allowed is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._allowed is not None and _host(Headers(scope=scope)) not in self._allowed:
            refused = Denied("wrong_host", "This server is not known by that name", "Use http://127.0.0.1.")
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4403, "reason": refused.message})
            else:
                await problem(refused, 403)(scope, receive, _with_headers(send, self._headers))
            return
        await self._app(scope, receive, _with_headers(send, self._headers))


def _host(headers: Headers) -> str:
    host = headers.get("host", "").lower()
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.split(":")[0]


def _with_headers(send: Send, added: Mapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in added.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
