"""What one address and one account may take of the places of all."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import httpx
import people
import pytest
from api_server import Running
from websockets.asyncio.client import ClientConnection, connect

from headrace.api.serving import Crowd
from headrace.auth.attempts import Attempts, neighbourhood
from headrace.auth.refusals import Refusals
from headrace.errors import TooMany
from headrace.settings import Web
from support.lab import until


@pytest.fixture
def web() -> Web:
    """A server with few places."""
    return Web(connections_each=12, live_each=3)


@pytest.fixture
def bare(running: Running) -> Iterator[httpx.Client]:
    """A client that keeps no connection."""
    headers = {"authorization": f"Bearer {running.token}", "connection": "close"}
    with httpx.Client(base_url=f"{running.url}/api/v1", headers=headers, timeout=30) as client:
        yield client


def places(bare: httpx.Client) -> bool:
    """Whether there is one left."""
    with suppress(httpx.TransportError):
        return bare.get("health/live").status_code == 200
    return False


def test_an_address_has_so_many_connections(running: Running, bare: httpx.Client) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(20)]
        refused = []
        for connection in idle:
            connection.settimeout(0.2)
            with suppress(TimeoutError):
                refused.append(connection.recv(100).split(b" ")[1])
        assert refused == [b"429"] * 8
        assert not places(bare)
        # Others are not affected: 127.0.0.2 is another address.
        other = stack.enter_context(
            socket.create_connection(("127.0.0.1", port), 10, source_address=("127.0.0.2", 0))
        )
        other.sendall(b"GET /api/v1/health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: places(bare), 10, "a place")


def test_sockets_count_as_what_they_were(running: Running, bare: httpx.Client) -> None:
    place = running.url.replace("http", "ws") + "/api/v1/live"
    headers = {"authorization": f"Bearer {running.token}"}

    async def story() -> None:
        sockets = [await connect(place, additional_headers=headers) for _ in range(11)]
        assert await asyncio.to_thread(places, bare)
        sockets.append(await connect(place, additional_headers=headers))
        assert not await asyncio.to_thread(places, bare)
        for one in sockets:
            await one.close()

    for _ in range(2):
        asyncio.run(story())
        until(lambda: places(bare), 10, "a place")
    for _ in range(30):
        # A handshake that fails gives its place back, too.
        wrong = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "1"}
        with suppress(httpx.TransportError):
            bare.get("live", headers=wrong)
    assert places(bare)


def test_proxies_that_are_trusted_are_not_counted() -> None:
    crowd = Crowd(1, ("10.0.0.1", "fd00::/8", "proxy.example.org"))
    for address in ("10.0.0.1", "fd00::7"):
        assert [crowd.enter((address, 1)) for _ in range(3)] == [""] * 3
    assert crowd.enter(None) == ""
    first = crowd.enter(("2001:db8::1", 1))
    assert first
    assert crowd.enter(("2001:db8::2", 1)) is None
    assert crowd.enter(("2001:db8:0:1::2", 1))
    crowd.leave(first)
    assert crowd.enter(("2001:db8::2", 1)) == first
    assert Crowd(0, ("*",)).enter(("10.0.0.9", 1)) == ""
    assert Crowd(0, ()).enter(("10.0.0.9", 1)) is None


def test_an_account_has_so_many_places_to_watch(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    place = running.url.replace("http", "ws") + "/api/v1/live"
    ann = {"authorization": f"Bearer {people.tokens(running, 'ann')['access_token']}"}

    async def watch(headers: dict[str, str]) -> tuple[ClientConnection, str]:
        client = await connect(place, additional_headers=headers)
        await client.recv()
        await client.send(json.dumps({"type": "subscribe"}))
        # It is in once it answers what comes after.
        await client.send("x")
        return client, json.loads(await client.recv())["code"]

    async def story() -> None:
        watching = [await watch(ann) for _ in range(4)]
        assert [code for _, code in watching] == ["bad_message"] * 3 + ["live_full"]
        told = await asyncio.to_thread(httpx.get, f"{running.url}/api/v1/live/events", headers=ann)
        assert (told.status_code, told.json()["code"]) == (503, "live_full")
        watching.append(await watch({"authorization": f"Bearer {running.token}"}))
        assert watching[-1][1] == "bad_message"
        for client, _ in watching:
            await client.close()

    asyncio.run(story())


def test_a_cookie_of_another_program_of_the_host_is_none_of_ours(running: Running) -> None:
    async def story() -> None:
        place = running.url.replace("http", "ws") + "/api/v1/live"
        async with connect(place, additional_headers={"cookie": "other=1"}) as client:
            await client.send(json.dumps({"type": "auth", "token": running.token}))
            assert json.loads(await client.recv())["type"] == "hello"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("ann:x@example.org", "ann:x@example.org"),
        ("", ""),
    ],
)
def test_neighbourhoods(address: str, place: str) -> None:
    assert neighbourhood(address) == place


def test_a_network_of_ipv6_is_one_client() -> None:
    attempts = Attempts()
    for n in range(5):
        attempts.hit("x", f"2001:db8::{n}", 5)
    with pytest.raises(TooMany):
        attempts.hit("x", "2001:db8::ffff", 5)
    attempts.hit("x", "2001:db8:0:1::1", 5)
    noted: list[str] = []
    refusals = Refusals(SimpleNamespace(audit=lambda _kind, id_, *_a, **_k: noted.append(id_)))  # type: ignore[arg-type]
    for n in range(5):
        refusals.note(f"2001:db8::{n}")
    refusals.flush()
    assert noted == ["2001:db8::/64"]
