"""Connect's REST API for faces: calls side by side, an end to every read, rest while it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headrace.capture import rest
from headrace.capture.rest import Rest
from headrace.errors import HeadraceError
from headrace.settings import HttpSecurity


class Answers(BaseHTTPRequestHandler):
    """``/slow`` answers after half a second, ``/drop`` never, ``/drip`` a byte now and then, ``/moving`` at
    the third time, all else at once."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        with server.lock:
            server.asked += 1
        if self.path == "/slow":
            server.over.wait(0.5)
        if server.away or self.path == "/drop":
            return
        moving = self.path == "/moving" and server.asked < 3
        body = (
            b'{"message": "Request cannot be completed because a rebalance is expected"}'
            if moving
            else b"[1]"
        )
        self.send_response(500 if moving else 200)
        self.send_header("content-length", str(len(body) if self.path != "/drip" else 10_000))
        self.end_headers()
        while self.path == "/drip" and not server.over.wait(0.1):
            self.wfile.write(b" ")
            self.wfile.flush()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """away: it hangs up on everybody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.lock, self.over = threading.Lock(), threading.Event()
        self.asked, self.away = 0, False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that have gone are what these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def asked(server: Server) -> Iterator[Rest]:
    opened = Rest(f"http://127.0.0.1:{server.server_address[1]}", HttpSecurity())
    yield opened
    opened.close()


def code(asked: Rest, path: str = "/x") -> str:
    """The code of the error, "" without one."""
    try:
        asked.get(path)
    except HeadraceError as error:
        return error.code
    return ""


def test_calls_go_side_by_side(asked: Rest) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked.get, ["/slow"] * 8)) == [[1]] * 8
    assert time.monotonic() - began < 2


def test_a_read_that_meets_a_rebalance_is_tried_again(asked: Rest, server: Server) -> None:
    assert asked.get("/moving") == [1]
    assert server.asked == 3


def test_who_finds_no_turn_is_told_soon(asked: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(30) as pool:
        codes = list(pool.map(lambda _: code(asked, "/slow"), range(30)))
    assert {*codes} == {"", "connect_crowded"}
    assert codes.count("") >= rest._AT_ONCE
    assert code(asked) == ""


@pytest.mark.parametrize("path", ["/drip", "/drop"])
def test_a_read_has_an_end(asked: Rest, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_read_seconds", 1.0)
    began = time.monotonic()
    assert code(asked, path) in ("connect_unreachable", "connect_resting")
    assert time.monotonic() - began < 2.5


def test_while_it_is_away_one_call_in_a_while_tries(
    server: Server, asked: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.away = True
    until = time.monotonic() + 20
    while code(asked) != "connect_resting":
        assert time.monotonic() < until
    before = server.asked
    assert before == rest._FAILURES
    assert {code(asked) for _ in range(20)} == {"connect_resting"}
    assert server.asked == before
    # Time for a trial: of those that come at once one is let through.
    asked._fuse._until = 0.0
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: code(asked, "/slow"), range(8))) <= {
            "connect_resting",
            "connect_unreachable",
        }
    assert server.asked == before + 1
    server.away = False
    asked._fuse._until = 0.0
    assert code(asked) == ""
    assert asked.get("/x") == [1]
