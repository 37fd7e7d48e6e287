"""Who may enter: the bearer token, the Host header (against DNS rebinding), and headers for browsers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.problems import problem
from headrace.errors import Denied

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
_SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_bearer = HTTPBearer(auto_error=False, description="The token of the installation")
Given = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def token_check(token: str) -> Callable[[Given], None]:
    """A dependency that lets only requests with this token pass; Denied ``unauthorized`` (401)."""

    def check(given: Given) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise Denied(
                "unauthorized",
                "The token is missing or wrong" if given else "A bearer token is wanted",
                "Send `Authorization: Bearer TOKEN`; the token is in the file `token` of the data folder.",
            )

    return check


class Hosts:
    """Refuse requests for other names than ours, and add security headers to every answer.

    A page elsewhere can point its own name at 127.0.0.1; the Host header gives it away.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str] | None) -> None:
        self._app = app
        self._allowed = frozenset(allowed) if allowed is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._allowed is not None and _host(Headers(scope=scope)) not in self._allowed:
            refused = Denied("wrong_host", "This server is not known by that name", "Use http://127.0.0.1.")
            await problem(refused, 403)(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send))


def _host(headers: Headers) -> str:
    host = headers.get("host", "").lower()
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.split(":")[0]


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
