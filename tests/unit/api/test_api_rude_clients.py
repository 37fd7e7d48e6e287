"""Clients that take their time, send too much, or send nonsense."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import people
import pytest
from api_server import Running

from headrace.api import serving
from headrace.api.app import create_app
from headrace.settings import Settings, Web
from headrace.store import Store
from support.lab import until

RULE = {"name": "r", "metric": "lag_seconds"}


@pytest.fixture(scope="module")
def rude(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that waits a second for the head and for the body, and takes 100 kB."""
    settings = Settings(tmp_path_factory.mktemp("rude"), kafka="127.0.0.1:1", connect="http://127.0.0.1:1")
    settings = replace(settings, web=Web(max_body_bytes=100_000, receive_seconds=1.0))
    server = serving.Server(serving.config(create_app(settings), settings, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 20, "the server")
    port = server.servers[0].sockets[0].getsockname()[1]
    store = Store(settings)
    yield Running(f"http://127.0.0.1:{port}", settings.token_file.read_text().strip(), store)
    store.close()
    server.should_exit = True
    thread.join()


@contextmanager
def raw(running: Running) -> Iterator[socket.socket]:
    """A plain connection."""
    port = int(running.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        yield connection


def said(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def head(running: Running, *lines: str, method: str = "POST", path: str = "/api/v1/alerts/rules") -> bytes:
    """A request's head."""
    own = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {running.token}", *lines]
    return ("\r\n".join(own) + "\r\n\r\n").encode("latin-1")


def test_a_head_that_trickles_is_cut_off(rude: Running) -> None:
    with raw(rude) as connection:
        began = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
        assert said(connection).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 3


def test_a_thousand_half_open_connections_do_not_hold_up_others(rude: Running) -> None:
    port = int(rude.url.rsplit(":", 1)[1])
    idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(1000)]
    try:
        with people.client(rude, rude.token) as api:
            began = time.monotonic()
            assert api.get("auth/me").status_code == 200
            assert time.monotonic() - began < 1
        idle[0].settimeout(5)
        assert b"408" in said(idle[0])
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(
    "headers",
    ["x-long: " + "a" * 200_000, "\r\n".join(f"x-{n}: 1" for n in range(5000)), "x-long: " + "a" * 70_000],
)
def test_heads_have_a_bound(rude: Running, headers: str) -> None:
    with raw(rude) as connection:
        try:
            connection.sendall(head(rude, headers))
            answer = said(connection)
        except ConnectionError:
            # Closed while we were still sending.
            return
        assert answer[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400")


def test_a_large_body_is_refused_before_it_is_read(rude: Running) -> None:
    with raw(rude) as connection:
        connection.sendall(head(rude, "content-length: 100001", "content-type: application/json"))
        answer = said(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"body_too_large" in answer


def test_chunks_without_end_are_refused(rude: Running) -> None:
    with raw(rude) as connection:
        connection.sendall(head(rude, "transfer-encoding: chunked"))
        connection.sendall(b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n")
        connection.sendall(b"ffff\r\n" + b"a" * 34_500)
        assert b"body_too_large" in said(connection)


@pytest.mark.parametrize("line", ["content-length: 50", "transfer-encoding: chunked"])
def test_a_body_that_does_not_come_is_not_waited_for(rude: Running, line: str) -> None:
    with raw(rude) as connection:
        began = time.monotonic()
        connection.sendall(head(rude, line, "content-type: application/json") + b"2\r\n{")
        answer = said(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in answer
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 50_000, "body_too_deep"),
        (b'{"a":' * 10_000, "body_too_deep"),
        (b'{"name": "\\u0000", "metric": "lag_seconds"}', "bad_text"),
        (b'{"name": "\\ud800", "metric": "lag_seconds"}', "bad_text"),
        (b'{"name": "\xed\xa0\x80", "metric": "lag_seconds"}', "bad_text"),
        (b'{"name": "\xff", "metric": "lag_seconds"}', "bad_text"),
        (json.dumps(RULE).encode("utf-16"), "bad_text"),
        (b'{"name": "r", "metric": "lag_seconds", "threshold": 1e999999}', "invalid_spec"),
        (b'{"name": "r", "metric": "lag_seconds", "threshold": NaN}', "invalid_spec"),
        (b'{"name": "r", "metric": "lag_seconds", "duration_seconds": ' + b"9" * 5000 + b"}", "bad_body"),
        (b'{"name": "r"', "invalid_spec"),
        (b"", "invalid_spec"),
    ],
)
def test_bodies_that_are_none(rude: Running, body: bytes, code: str) -> None:
    with people.client(rude, rude.token) as api:
        answer = api.post("alerts/rules", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_who_sends_a_request_is_told_about_requests(rude: Running) -> None:
    with people.client(rude, rude.token) as api:
        for body, kind in ((b'{"email": }', "application/json"), (b"x", "text/plain")):
            told = api.post("auth/login", content=body, headers={"content-type": kind}).json()
            assert "content-type: application/json" in told["guidance"]
            assert "init" not in told["guidance"]
        told = api.post("auth/login", content=b'{"email": }', headers={"content-type": "application/json"})
        assert told.json()["message"] == "request: Not JSON at character 10: Expecting value"


def test_text_that_only_looks_bad_is_taken(rude: Running) -> None:
    with people.client(rude, rude.token) as api:
        name = "\\u0000 \U0001f600 [[[{{{" + '"' * 3
        made = api.post("alerts/rules", json={**RULE, "name": name})
        assert made.status_code == 201, made.text
        assert made.json()["name"] == name


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pipelines/..%2f..%2fetc%2fpasswd", "/api/v1/pipelines/%00", "/api/v1/pipelines/%ff", "//api/v1/pipelines",
        "/api/v1/../../etc/passwd", "/api/v1/pipelines/a%0d%0aset-cookie:x=1/certificate", "/api/v1/pipelines?limit=%00",
        "/api/v1/pipelines/" + "a" * 5000, "/api/v1/pipelines/' OR 1=1 --/status".replace(" ", "%20"),
        "/api/v1/audit?user=%27%3B%20DROP%20TABLE%20users%3B--", "/api/v1/pipelines?status=%27%20OR%20%271%27=%271",
        "/api/v1/users?q=%25%27%3B--", "/api/v1/pipelines/%F0%9F%98%80",
    ],
)  # fmt: skip
def test_strange_addresses(rude: Running, path: str) -> None:
    with raw(rude) as connection:
        connection.sendall(head(rude, "connection: close", method="GET", path=path))
        answer = said(connection)
        assert answer.split(b" ")[1] in (b"200", b"400", b"404", b"422"), answer[:200]
        assert b"\r\nset-cookie: x" not in answer.lower()
        assert b"root:" not in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /api/v1/plan HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/plan HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\x00b\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET \xff\xfe HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_nothing_hangs(rude: Running, request_: bytes) -> None:
    with raw(rude) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = said(connection)
        except ConnectionResetError:
            answer = b""
        assert answer[:10] in (b"", b"HTTP/1.1 4"), answer[:100]
    with people.client(rude, rude.token) as api:
        assert api.get("auth/me").status_code == 200


def test_old_and_eager_clients_are_served(rude: Running) -> None:
    with raw(rude) as connection:
        connection.sendall(b"GET /api/v1/health/live HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")
        assert said(connection).startswith(b"HTTP/1.1 200")
    with raw(rude) as connection:
        one = b"GET /api/v1/health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        connection.sendall(one * 3 + one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert said(connection).count(b"HTTP/1.1 200") == 4


def test_what_was_refused_left_nothing_behind(rude: Running, tmp_path: Path) -> None:
    with httpx.Client(
        base_url=f"{rude.url}/api/v1", headers={"authorization": f"Bearer {rude.token}"}
    ) as api:
        assert {r["name"] for r in api.get("alerts/rules").json()["items"]} <= {
            "\\u0000 \U0001f600 [[[{{{" + '"' * 3
        }
