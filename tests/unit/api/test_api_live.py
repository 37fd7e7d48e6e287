"""Watching live, over a real server."""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import people
import pytest
import websockets
from api_server import Running
from starlette.requests import ClientDisconnect
from websockets.asyncio.client import ClientConnection, connect

from headrace.api.app import create_app
from headrace.settings import Settings
from headrace.spec.models import PipelineSpec
from support.lab import until

JSON = dict[str, Any]


def address(running: Running) -> str:
    """Where to watch."""
    return running.url.replace("http", "ws") + "/api/v1/live"


@asynccontextmanager
async def watching(running: Running, token: str = "", **asked: Any) -> AsyncIterator[ClientConnection]:
    """A socket that has subscribed."""
    headers = {"authorization": f"Bearer {token or running.token}"}
    async with connect(
        address(running), additional_headers=headers, compression=None, max_queue=None
    ) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"
        await socket.send(json.dumps({"type": "subscribe", **asked}))
        yield socket


async def event(socket: ClientConnection, seconds: float = 5) -> JSON:
    """The next message that is no ping."""
    async with asyncio.timeout(seconds):
        while True:
            message: JSON = json.loads(await socket.recv())
            if message["type"] != "ping":
                return message


async def ended(socket: ClientConnection) -> None:
    """Return once the server has closed the socket."""
    async with asyncio.timeout(10):
        with suppress(websockets.ConnectionClosed):
            while True:
                await socket.recv()


async def subscribed(running: Running, socket: ClientConnection, pipeline: str = "p") -> None:
    """Return once the socket is told what happens."""
    async with asyncio.timeout(10):
        while True:
            await asyncio.to_thread(running.store.log, pipeline, "debug", "test", "are you there")
            try:
                await event(socket, 0.3)
            except TimeoutError:
                continue
            return


def test_what_happens_is_told_at_once(running: Running, pipeline: PipelineSpec) -> None:
    async def story() -> None:
        async with watching(running, kinds=["status"], pipelines=["p"]) as socket, watching(running) as all_:
            await subscribed(running, all_)
            began = time.monotonic()
            await asyncio.to_thread(running.store.set_status, "p", "running", "seeding")
            found = await event(socket)
            assert time.monotonic() - began < 1
            assert (found["kind"], found["pipeline"]) == ("status", "p")
            assert found["data"]["phase"] == "seeding"

    asyncio.run(story())


def test_resuming_misses_nothing_and_doubles_nothing(running: Running, pipeline: PipelineSpec) -> None:
    async def story() -> None:
        said: list[str] = []
        after = running.store.event_bounds()[1]
        over = threading.Event()

        def write() -> None:
            for n in range(200):
                running.store.log("p", "info", "t", str(n))
            over.set()

        writer = threading.Thread(target=write)
        writer.start()
        while len(said) < 200:
            async with watching(running, kinds=["logs"], after=after) as socket:
                for _ in range(7):
                    if len(said) == 200:
                        break
                    found = await event(socket)
                    said.append(found["data"]["message"])
                    after = found["id"]
        writer.join()
        assert said == [str(n) for n in range(200)]

    asyncio.run(story())


def test_a_gap_is_told(running: Running, pipeline: PipelineSpec) -> None:
    async def story() -> None:
        async with watching(running, after=10**9) as socket:
            assert (await event(socket))["type"] == "gap"

    asyncio.run(story())


@pytest.mark.parametrize("how", ["header", "message"])
def test_strangers_are_sent_away(running: Running, how: str) -> None:
    async def story() -> None:
        headers = {"authorization": "Bearer wrong"} if how == "header" else {}
        async with connect(address(running), additional_headers=headers) as socket:
            if how == "message":
                await socket.send(json.dumps({"type": "auth", "token": "wrong"}))
            assert json.loads(await socket.recv())["code"] == "unauthorized"
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401

    asyncio.run(story())


def test_browsers_come_by_cookie_from_our_own_pages(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    with people.client(running) as ann:
        body = {"email": "ann@example.org", "password": people.PASSWORD, "cookies": True}
        ann.post("auth/login", json=body)
        cookie = f"headrace_access={ann.cookies['headrace_access']}"

    async def code(origin: str) -> int | None:
        headers = {"cookie": cookie, "origin": origin}
        async with connect(address(running), additional_headers=headers) as socket:
            if json.loads(await socket.recv())["type"] == "hello":
                return None
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            return socket.close_code

    assert asyncio.run(code(running.url)) is None
    assert asyncio.run(code("https://evil.example")) == 4403


def test_a_role_sees_what_it_may(api: httpx.Client, running: Running, pipeline: PipelineSpec) -> None:
    people.add(api, "ann", "user")
    token = people.tokens(running, "ann")["access_token"]

    async def story() -> None:
        async with watching(running, token) as ann, watching(running) as admin:
            await subscribed(running, admin)
            await asyncio.to_thread(running.store.audit, "pipeline", "p", "x")
            await asyncio.to_thread(running.store.set_status, "p", "idle")
            assert [(await event(admin))["kind"] for _ in range(2)] == ["changes", "status"]
            assert (await event(ann))["kind"] == "status"

    asyncio.run(story())


def test_nonsense_ends_the_conversation_after_a_while(running: Running) -> None:
    async def story() -> None:
        headers = {"authorization": f"Bearer {running.token}"}
        async with connect(address(running), additional_headers=headers) as socket:
            await socket.recv()
            for message in ("nonsense", '{"type": "subscribe", "kinds": ["x"]}', "[]"):
                await socket.send(message)
                assert json.loads(await socket.recv())["code"] == "bad_message"
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
        async with connect(address(running), additional_headers=headers) as socket:
            await socket.send("x" * 100_000)
            await ended(socket)

    asyncio.run(story())


@pytest.mark.parametrize("way", ["access_token", "api_token"])
def test_a_disabled_account_is_closed(
    api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("headrace.api.live._PROVE_SECONDS", 0.3)
    people.add(api, "ann")
    token = people.tokens(running, "ann")["access_token"]
    if way == "api_token":
        with people.client(running, token) as own:
            token = own.post("tokens", json={"name": "t", "scopes": ["*"]}).json()["token"]

    async def story() -> None:
        async with watching(running, token) as socket:
            await asyncio.to_thread(api.put, "users/ann@example.org", json={"is_active": False})
            await ended(socket)
            assert socket.close_code == 4401

    asyncio.run(story())


def test_a_revoked_session_is_closed(
    api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.api.live._PROVE_SECONDS", 0.3)
    people.add(api, "ann")
    token = people.tokens(running, "ann")["access_token"]

    async def story() -> None:
        async with watching(running, token) as socket:
            await asyncio.to_thread(api.post, "users/ann@example.org/logout")
            await ended(socket)
            assert socket.close_code == 4401

    asyncio.run(story())


def test_five_hundred_clients_are_told_within_a_second(running: Running, pipeline: PipelineSpec) -> None:
    async def story() -> list[float]:
        async with asyncio.timeout(60):
            headers = {"authorization": f"Bearer {running.token}"}
            clients = await asyncio.gather(
                *(connect(address(running), additional_headers=headers, compression=None) for _ in range(500))
            )
            for client in clients:
                await client.recv()
                await client.send(json.dumps({"type": "subscribe", "kinds": ["status"]}))
            # All are in once each answers a wrong message after its subscription.
            for client in clients:
                await client.send("x")
            for client in clients:
                assert json.loads(await client.recv())["code"] == "bad_message"
            began = time.monotonic()

            async def told(client: ClientConnection) -> float:
                assert (await event(client))["kind"] == "status"
                return time.monotonic() - began

            waiting = [asyncio.create_task(told(c)) for c in clients]
            await asyncio.to_thread(running.store.set_status, "p", "running", "incremental")
            took = await asyncio.gather(*waiting)
            await asyncio.gather(*(c.close() for c in clients))
            return sorted(took)

    took = asyncio.run(story())
    print(f"500 clients: median {took[250] * 1000:.0f} ms, last {took[-1] * 1000:.0f} ms")
    assert took[-1] < 1.0


def test_a_client_that_does_not_read_is_dropped_and_others_go_on(
    running: Running, pipeline: PipelineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.api.hub.QUEUE", 100)
    port = int(running.url.rsplit(":", 1)[1])
    request = (
        f"GET /api/v1/live HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {running.token}\r\n"
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frame = json.dumps({"type": "subscribe"}).encode()
    with sockets.socket() as deaf:
        deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(request.encode())
        assert b"101" in deaf.recv(4096)
        deaf.sendall(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)

        async def story() -> None:
            async with watching(running, kinds=["logs"]) as socket:
                await subscribed(running, socket)
                text = "x" * 50_000
                for n in range(300):
                    await asyncio.to_thread(running.store.log, "p", "info", "t", f"{n} {text}")
                    while n % 50 == 49:
                        found = await event(socket)
                        if found["data"]["message"].startswith(f"{n} "):
                            break

        asyncio.run(story())
        # Only what was on its way already still comes; then the connection ends.
        deaf.settimeout(30)
        received = 0
        with suppress(ConnectionResetError):
            while part := deaf.recv(1 << 20):
                received += len(part)
        assert received < 300 * 50_000


def test_server_sent_events(running: Running, pipeline: PipelineSpec, api: httpx.Client) -> None:
    after = running.store.event_bounds()[1]
    running.store.log("p", "info", "t", "before")
    query = {"kinds": "logs", "pipeline": "p"}
    headers = {"last-event-id": str(after)}
    with api.stream("GET", "live/events", params=query, headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == ": hello"
        found: list[JSON] = []
        running.store.set_status("p", "idle")
        running.store.log("p", "info", "t", "after")
        for line in lines:
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == 2:
                break
    assert [f["data"]["message"] for f in found] == ["before", "after"]
    wrong = api.get("live/events", params={"kinds": "x"})
    assert wrong.status_code == 422


def test_who_leaves_before_the_first_byte_watches_no_longer(tmp_path: Path) -> None:
    app = create_app(Settings(tmp_path))
    token = f"Bearer {app.state.settings.token_file.read_text().strip()}"
    scope: JSON = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "GET", "path": "/api/v1/live/events", "root_path": "", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", token.encode())],
    }  # fmt: skip
    watched: list[int] = []

    async def receive() -> JSON:
        return {"type": "http.disconnect"}

    async def send(_message: object) -> None:
        watched.append(app.state.hub.watching)
        raise BrokenPipeError

    async def story() -> None:
        async with app.router.lifespan_context(app):
            with suppress(OSError, ClientDisconnect):
                await app(scope, receive, send)
            assert (watched[0], app.state.hub.watching) == (1, 0)

    asyncio.run(story())


def test_an_event_that_cannot_be_read_does_not_end_all_others(
    running: Running, pipeline: PipelineSpec, caplog: pytest.LogCaptureFixture
) -> None:
    def execute(statement: str) -> None:
        with running.store._writing() as transaction:
            transaction.exec_driver_sql(statement)

    async def story() -> None:
        async with watching(running, kinds=["logs", "metrics"]) as socket:
            await subscribed(running, socket)
            # A number that JSON's readers may have no room for is told all the same.
            await asyncio.to_thread(running.store.set_lag, "p", {"events": 2**70})
            assert (await event(socket))["data"] == {"events": 2**70}
            before = running.store.event_bounds()[1]
            broken = "INSERT INTO events (ts, kind, data) VALUES ('2026-01-01 00:00:00', 'logs', '{')"
            await asyncio.to_thread(execute, broken)
            await asyncio.to_thread(until, lambda: "cannot be read" in caplog.text, 10, "a line in the log")
            await asyncio.to_thread(running.store.log, "p", "info", "t", "after")
            assert (await event(socket))["data"]["message"] == "after"
        # Whoever resumes before it is not stopped by it either.
        async with watching(running, kinds=["logs"], after=before) as socket:
            assert (await event(socket))["data"]["message"] == "after"
        assert caplog.text.count("cannot be read") == 1

    asyncio.run(story())


def test_the_server_stops_with_clients_that_watch(running: Running, pipeline: PipelineSpec) -> None:
    assert [beat.pid for beat in running.store.beats("server")] == [os.getpid()]
    with httpx.Client(base_url=running.url, headers={"authorization": f"Bearer {running.token}"}) as client:
        with client.stream("GET", "/api/v1/live/events") as stream:
            assert next(stream.iter_lines()) == ": hello"

            async def story() -> float:
                async with watching(running) as socket:
                    await subscribed(running, socket)
                    began = time.monotonic()
                    running.stop()
                    await ended(socket)
                    return time.monotonic() - began

            assert asyncio.run(story()) < 3
    until(lambda: not running.alive(), 5, "the end of the server")
    assert running.store.beats("server") == []
