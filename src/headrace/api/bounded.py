"""Bounds on the bodies of requests: how large, how slow, how deep, how many, no text that a database cannot keep."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.problems import problem
from headrace.auth import rights
from headrace.errors import HeadraceError, Invalid

DEEPEST = 64
# Entries of lists and mappings, all together: each becomes objects while nobody else is served.
MOST_ENTRIES = 50_000
# Of a call that anybody may make.
PUBLIC_BYTES = 16 * 1024
_LARGE = 64 * 1024
# Read once and never given back: an open one ends where the body does, else each of its quotes would begin another.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Bounded:
    """Takes the whole body before anything else sees the request, and refuses it where it breaks a bound."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app, self._max, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _check_address(scope)
            body = await self._body(Headers(scope=scope), receive, self._most(scope))
            if body:
                await (run_in_threadpool(check_text, body) if len(body) > _LARGE else _now(body))
        except _Refused as refused:
            await problem(refused.error, refused.status, close=refused.close)(scope, receive, send)
            return
        except ConnectionError:
            return
        await self._app(scope, receive if body is None else _replaying(body, receive), send)

    def _most(self, scope: Scope) -> int:
        """How many bytes its body may have: of a stranger's call few."""
        route = f"{scope['method']} {scope['path'].removeprefix('/api/v1')}"
        return min(self._max, PUBLIC_BYTES) if rights.ROUTES.get(route) in rights.OPEN else self._max

    async def _body(self, headers: Headers, receive: Receive, most: int) -> bytes | None:
        """The body; None when the request has none."""
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return None
        if length is not None and length.isdigit() and int(length) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._whole(receive, most)
        except TimeoutError:
            why = f"The body did not come within {self._seconds:g} seconds"
            raise _Refused(Invalid("body_too_slow", why, "Send it faster."), 408, close=True) from None

    async def _whole(self, receive: Receive, most: int) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client has gone")
            body += message.get("body", b"")
            if len(body) > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return bytes(body)


def check_text(body: bytes) -> None:
    """Refuse a body that is nested too deeply, has too many entries or holds text that is none."""
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(body)
    if body.count(b",") > MOST_ENTRIES:
        _check_entries(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_text("The body is not UTF-8") from None
    if "\0" in text or (b"\\u" in body and _unstorable(body)):
        raise _bad_text("The body holds a NUL or half of a character")


def _check_depth(body: bytes) -> None:
    depth = 0
    for found in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if found[0] in b"[{" else -1
        if depth > DEEPEST:
            why = f"The body is nested deeper than {DEEPEST} levels"
            raise _Refused(Invalid("body_too_deep", why, "Send a flatter one."), 422)


def _check_entries(body: bytes) -> None:
    # Bodies that are no JSON have commas as well; none of ours is that long.
    if _STRING.sub(b"", body).count(b",") > MOST_ENTRIES:
        why = f"The body has more than {MOST_ENTRIES} entries"
        raise _Refused(Invalid("body_too_many", why, "Send fewer at once."), 422)


def _unstorable(body: bytes) -> bool:
    """Whether an escape stands for a NUL or for half of a surrogate pair."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        # What it lacks to be JSON is said by whoever parses it.
        return False
    return _NUL.search(text) is not None


def _check_address(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise _bad_text("The address holds a NUL")


async def _now(body: bytes) -> None:
    check_text(body)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what else comes of the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class _Refused(Exception):
    def __init__(self, error: HeadraceError, status: int, close: bool = False) -> None:
        super().__init__(error.code)
        self.error, self.status, self.close = error, status, close


def _too_large(most: int) -> _Refused:
    why = f"The body is larger than {most} bytes"
    context: dict[str, Any] = {"max_bytes": most}
    return _Refused(Invalid("body_too_large", why, "Send less at once.", context), 413, close=True)


def _bad_text(why: str) -> _Refused:
    return _Refused(Invalid("bad_text", why, "Send plain UTF-8 text without NUL."), 422)
