"""Live updates: what happens, as it happens, by WebSocket and by Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal, cast, get_args

import orjson
from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from headrace.api.guarded import Guarded, knock
from headrace.api.hub import Client, Hub
from headrace.auth import rights
from headrace.auth.gate import ACCESS_COOKIE, Gate, Knock
from headrace.auth.principal import Principal
from headrace.errors import Denied, HeadraceError, Invalid, Unavailable
from headrace.spec.models import Model
from headrace.store import Store

router = APIRouter(tags=["live"], route_class=Guarded)
Kind = Literal["status", "tables", "logs", "metrics", "changes", "alerts"]

_PING_SECONDS = 15.0
_PROVE_SECONDS = 10.0
_AUTH_SECONDS = 5.0
_UNPROVEN = 4401
_log = logging.getLogger(__name__)
_CLOSE = {"denied": 4403, "too_many": 4429, "unavailable": 1013}


class Subscribe(Model):
    """What a client wants to see: kinds and pipelines (all without), from after an event on (from now without)."""

    type: Literal["subscribe"]
    kinds: tuple[Kind, ...] | None = None
    pipelines: tuple[Annotated[str, Field(max_length=63)], ...] | None = None
    after: Annotated[int, Field(ge=0, le=2**62)] | None = None


class Auth(Model):
    """A token, where the client cannot send headers."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=8000)]


_SUBSCRIBE: TypeAdapter[Subscribe] = TypeAdapter(Subscribe)
_AUTH: TypeAdapter[Auth] = TypeAdapter(Auth)


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """What happens, as it happens."""
    await socket.accept()
    knocked = knock(socket)
    try:
        principal, knocked = await _entered(socket, knocked)
        await _Conversation(socket, knocked, principal).hold()
    except HeadraceError as error:
        code = _UNPROVEN if error.code == "unauthorized" else _CLOSE.get(error.kind, 4400)
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(2):
                await socket.send_text(_problem(error))
                await socket.close(code, error.code)
    except (WebSocketDisconnect, RuntimeError):
        return


async def _entered(socket: WebSocket, knocked: Knock) -> tuple[Principal, Knock]:
    """Who watches: by a header, a cookie (of this site's own pages), or a first message."""
    gate = _gate(socket)
    if not gate.may_come_from(knocked.origin, knocked.host):
        raise Denied("csrf", "Refused: the call comes from another site", "Open it from this server's pages.")
    # Any other cookie may be of anybody on this host.
    if not knocked.authorization and not knocked.cookies.get(ACCESS_COOKIE):
        try:
            said = _AUTH.validate_json(await asyncio.wait_for(socket.receive_text(), _AUTH_SECONDS))
        except (ValidationError, TimeoutError, KeyError):
            raise Denied(
                "unauthorized", "A token is wanted", 'Send {"type": "auth", "token": "..."} first.'
            ) from None
        knocked = Knock("GET", f"Bearer {said.token}", address=knocked.address)
    needed = rights.needed("WEBSOCKET", "/live")
    principal = await run_in_threadpool(gate.enter, knocked, needed)
    assert principal is not None
    return principal, knocked


class _Conversation:
    """One client's socket: what it asks, what it is told."""

    def __init__(self, socket: WebSocket, knocked: Knock, principal: Principal) -> None:
        self._socket, self._knocked = socket, knocked
        self._hub = _hub(socket)
        self._client = Client(principal.id, principal.permissions)
        self._entered = False
        self._past_told = False

    async def hold(self) -> None:
        """Until it ends; raises why."""
        await self._say(
            {"type": "hello", "id": (await run_in_threadpool(_store(self._socket).event_bounds))[1]}
        )
        tasks = {asyncio.create_task(run()) for run in (self._hear, self._tell, self._prove, self._drop)}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._hub.leave(self._client)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        wrong = 0
        while True:
            try:
                asked = _SUBSCRIBE.validate_json(await self._socket.receive_text())
            except (ValidationError, KeyError):
                wrong += 1
                error = Invalid(
                    "bad_message",
                    "Not a message of this protocol",
                    f'Send {{"type": "subscribe", "kinds": [...]}}, kinds of {", ".join(get_args(Kind))}.',
                )
                if wrong >= 3:
                    raise error from None
                await self._say_text(_problem(error))
                continue
            await self._subscribe(asked)

    async def _subscribe(self, asked: Subscribe) -> None:
        client = self._client
        client.kinds = frozenset(asked.kinds) if asked.kinds is not None else None
        client.pipelines = frozenset(asked.pipelines) if asked.pipelines is not None else None
        if self._entered:
            return
        self._entered = True
        position = await self._hub.enter(client)
        if asked.after is not None:
            async for text in self._hub.missed(client, asked.after, position):
                await self._say_text(text)
        self._past_told = True
        client.ready.set()

    async def _tell(self) -> None:
        client = self._client
        while True:
            try:
                await asyncio.wait_for(client.ready.wait(), _PING_SECONDS)
            except TimeoutError:
                await self._say({"type": "ping"})
                continue
            client.ready.clear()
            if self._hub.closed:
                raise Unavailable("stopping", "The server stops", "Connect again in a moment.")
            # What came while the past is still being told has to wait for it.
            while client.waiting and self._past_told and not client.slow:
                await self._say_text(client.waiting.popleft().text)

    async def _drop(self) -> None:
        # Whoever does not read keeps `_tell` waiting for ever.
        await self._client.dropped.wait()
        raise Unavailable("slow_consumer", "You did not keep up", "Resume after the last id you saw.")

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(_PROVE_SECONDS)
            principal = await run_in_threadpool(_gate(self._socket).prove, self._knocked)
            self._client.may = _still(principal, "WEBSOCKET", "/live")

    async def _say(self, message: dict[str, Any]) -> None:
        await self._say_text(orjson.dumps(message).decode())

    async def _say_text(self, text: str) -> None:
        await self._socket.send_text(text)


# --- Server-Sent Events


class EventForm(BaseModel):
    """What each event's data holds."""

    type: Literal["event"]
    id: int
    ts: str
    kind: Kind
    pipeline: str | None
    data: dict[str, Any]


@router.get(
    "/live/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A stream of events",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def events(
    request: Request,
    kinds: Annotated[list[Kind] | None, Query(description="Only these")] = None,
    pipeline: Annotated[list[str] | None, Query(description="Only of these")] = None,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Resume after this event")] = None,
    last_event_id: Annotated[str | None, Header(max_length=30, description="As browsers resume")] = None,
) -> StreamingResponse:
    """What happens, as it happens, as Server-Sent Events."""
    principal = cast(Principal, request.state.principal)
    client = Client(
        principal.id,
        principal.permissions,
        frozenset(kinds) if kinds else None,
        frozenset(pipeline) if pipeline else None,
    )
    if after is None and last_event_id and last_event_id.isascii() and last_event_id.isdigit():
        after = int(last_event_id)
    hub = _hub(request)
    position = await hub.enter(client)
    return _Watched(hub, client, _stream(request, client, after, position))


class _Watched(StreamingResponse):
    """A stream whose client watches no longer when it ends, be it before its first byte."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, client: Client, texts: AsyncIterator[str]) -> None:
        super().__init__(texts, headers={"x-accel-buffering": "no"})
        self._hub, self._client = hub, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave(self._client)


async def _stream(request: Request, client: Client, after: int | None, position: int) -> AsyncIterator[str]:
    """What is told, and why it ends where it does not by itself: the answer has begun, it cannot be a problem any more."""
    try:
        async with aclosing(_happenings(request, client, after, position)) as texts:
            async for text in texts:
                yield text
    except HeadraceError as error:
        yield f"event: problem\ndata: {_problem(error)}\n\n"


async def _happenings(
    request: Request, client: Client, after: int | None, position: int
) -> AsyncGenerator[str, None]:
    hub, proven = _hub(request), time.monotonic()
    yield ": hello\n\n"
    if after is not None:
        async for text in hub.missed(client, after, position):
            yield _sse(text)
    while not hub.closed:
        while client.waiting:
            one = client.waiting.popleft()
            yield f"id: {one.event.id}\nevent: {one.event.kind}\ndata: {one.text}\n\n"
        if client.slow:
            yield "event: slow_consumer\ndata: {}\n\n"
            return
        client.ready.clear()
        try:
            await asyncio.wait_for(client.ready.wait(), _PROVE_SECONDS)
        except TimeoutError:
            yield ": ping\n\n"
        if time.monotonic() - proven > _PROVE_SECONDS:
            proven = time.monotonic()
            principal = await run_in_threadpool(_gate(request).prove, knock(request))
            client.may = _still(principal, "GET", "/live/events")


def _still(principal: Principal | None, method: str, path: str) -> frozenset[str]:
    """What somebody who was let in may do by now; Denied when watching is no longer of it."""
    if principal is None or not principal.may(rights.needed(method, path)):
        raise Denied("unauthorized", "The session is over", "Log in again.")
    return principal.permissions


def _sse(text: str) -> str:
    form = json.loads(text)
    if form["type"] == "gap":
        return f"event: gap\ndata: {text}\n\n"
    return f"id: {form['id']}\nevent: {form['kind']}\ndata: {text}\n\n"


def _problem(error: HeadraceError) -> str:
    return orjson.dumps({"type": "problem", **error.as_dict()}).decode()


def _hub(connection: Request | WebSocket) -> Hub:
    return cast(Hub, connection.app.state.hub)


def _gate(connection: Request | WebSocket) -> Gate:
    return cast(Gate, connection.app.state.gate)


def _store(connection: Request | WebSocket) -> Store:
    return cast(Store, connection.app.state.store)
