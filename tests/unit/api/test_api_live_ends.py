"""How watching ends where it has to: for want of the database, and for those who take nothing of what they are told."""

from __future__ import annotations

import json
import socket as sockets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import people
import pytest
from api_server import Running

from headrace.errors import Unavailable
from headrace.spec.models import PipelineSpec
from headrace.store import Store
from support.lab import until


def away(*_given: Any) -> NoReturn:
    raise Unavailable("metadata_unavailable", "The metadata database does not answer")


def test_a_stream_whose_database_is_away_says_so_and_ends(
    api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.api.live._PROVE_SECONDS", 0.2)
    people.add(api, "ann")
    token = people.tokens(running, "ann")["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{running.url}/api/v1/live/events", headers=headers, timeout=10) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": hello"
        monkeypatch.setattr(Store, "session_user", away)
        rest = [line for line in lines if line and not line.startswith(":")]
    assert rest[0] == "event: problem"
    assert json.loads(rest[1].removeprefix("data: "))["code"] == "metadata_unavailable"
    assert "ASGI" not in caplog.text


def test_a_past_that_cannot_be_read_is_said(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bounds, asked = Store.event_bounds, 0

    def once(self: Store) -> Any:
        nonlocal asked
        asked += 1
        return bounds(self) if asked == 1 else away()

    monkeypatch.setattr(Store, "event_bounds", once)
    with api.stream("GET", "live/events", params={"after": 0}) as stream:
        assert "event: problem" in list(stream.iter_lines())
    assert "ASGI" not in caplog.text


@contextmanager
def deaf(running: Running, how: str) -> Iterator[sockets.socket]:
    """Somebody who watches all events, by Server-Sent Events or by WebSocket, and reads none."""
    upgrade = (
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    path, more = ("live/events", "") if how == "events" else ("live", upgrade)
    head = f"GET /api/v1/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {running.token}\r\n{more}\r\n"
    with sockets.socket() as socket:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        socket.connect(("127.0.0.1", int(running.url.rsplit(":", 1)[1])))
        socket.sendall(head.encode())
        assert socket.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
        if how == "socket":
            frame = b'{"type": "subscribe"}'
            socket.sendall(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
        yield socket


@pytest.mark.parametrize("how", ["events", "socket"])
def test_who_takes_nothing_is_cut_off_and_others_are_served(
    running: Running, pipeline: PipelineSpec, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("headrace.api.serving.TAKEN_SECONDS", 1.0)

    def watching() -> int:
        found: int = api.get("monitoring/metrics").json()["live_clients"]
        return found

    with deaf(running, how):
        until(lambda: watching() == 1, 5, "somebody who watches")
        # Fewer than would fill their queue, more than the kernel has room for.
        for n in range(200):
            running.store.log("p", "info", "t", f"{n} " + "x" * 60_000)
        until(lambda: watching() == 0, 8, "the end of them")
        with api.stream("GET", "live/events", params={"kinds": "logs"}) as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": hello"
            running.store.log("p", "info", "t", "after")
            assert json.loads(next(x for x in lines if x.startswith("data: ")).removeprefix("data: "))


def test_who_reads_slowly_is_served(
    running: Running, pipeline: PipelineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.api.serving.TAKEN_SECONDS", 0.5)

    def write() -> None:
        for n in range(70):
            running.store.log("p", "info", "t", f"{n} " + "x" * 60_000)

    with deaf(running, "events") as socket, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        socket.settimeout(5)
        received = bytearray()
        while b'"69 ' not in received[-130_000:]:
            part = socket.recv(1 << 16)
            assert part, "cut off"
            received += part
            # As much as a slow line would carry.
            time.sleep(0.002)
        writing.result()
