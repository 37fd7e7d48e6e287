"""Channels call no place that only the server can reach."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from headrace.alerts import notify
from headrace.alerts.notify import Notice, send
from headrace.alerts.reach import Reach
from headrace.errors import Denied, HeadraceError, Invalid, Unavailable

NOTICE = Notice("s", "t")


class Hook(BaseHTTPRequestHandler):
    """Notes who called; leads elsewhere at /away."""

    called: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.called.append(f"{self.headers['host']}{self.path}")
        self.send_response(302 if self.path == "/away" else 204)
        self.send_header("location", "/there")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    Hook.called = []
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def reach(monkeypatch: pytest.MonkeyPatch) -> Reach:
    """A fresh one, without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    fresh = Reach()
    monkeypatch.setattr(notify, "reach", fresh)
    return fresh


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name has these addresses."""

    monkeypatch.setattr("headrace.alerts.reach._addresses", lambda _name: [ip_address(a) for a in addresses])


def hang_up(server: socket.socket) -> None:
    """Take one connection and end it."""
    server.accept()[0].close()


def code(url: str) -> str:
    """What sending there raises."""
    with pytest.raises(HeadraceError) as refused:
        send("webhook", {}, {"url": url}, NOTICE)
    return refused.value.code


def test_the_server_itself_is_not_called(hook: HTTPServer, reach: Reach) -> None:
    port = hook.server_port
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"):
        assert code(f"http://{host}:{port}/x") == "private_address", host
        with pytest.raises(Denied):
            send("slack", {}, {"url": f"http://{host}:{port}/x"}, NOTICE)
    assert Hook.called == []
    reach.private = True
    send("webhook", {}, {"url": f"http://127.0.0.1:{port}/x"}, NOTICE)
    assert Hook.called == [f"127.0.0.1:{port}/x"]
    with pytest.raises(Unavailable):
        send("webhook", {}, {"url": f"http://127.0.0.1:{port}/away"}, NOTICE)
    assert Hook.called[1:] == [f"127.0.0.1:{port}/away"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "169.254.169.254", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_a_name_of_such_an_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    names(monkeypatch, "93.184.215.14", address)
    assert code("https://hooks.example.org/x") == "private_address"


def test_what_was_looked_up_is_what_is_called(monkeypatch: pytest.MonkeyPatch, reach: Reach) -> None:
    names(monkeypatch, "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    found = reach.place("https://u:p@hooks.example.org:8443/x?y=1")
    assert str(found.url) == "https://u:p@93.184.215.14:8443/x?y=1"
    assert found.headers == {"host": "hooks.example.org:8443"}
    assert found.extensions == {"sni_hostname": "hooks.example.org"}
    names(monkeypatch, "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    assert reach.place("http://h.example.org/").url.host == "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def test_the_name_is_asked_for_and_proven(
    hook: HTTPServer, monkeypatch: pytest.MonkeyPatch, reach: Reach
) -> None:
    monkeypatch.setattr("headrace.alerts.reach.public", lambda _address: True)
    names(monkeypatch, "127.0.0.1")
    send("webhook", {}, {"url": f"http://hooks.example.org:{hook.server_port}/x"}, NOTICE)
    assert Hook.called == [f"hooks.example.org:{hook.server_port}/x"]
    seen: list[str | None] = []
    wrapped = ssl.SSLContext.wrap_socket

    def wrap(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        seen.append(kwargs.get("server_hostname"))
        return wrapped(self, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        threading.Thread(target=hang_up, args=(dumb,), daemon=True).start()
        assert code(f"https://hooks.example.org:{dumb.getsockname()[1]}/x") == "channel_failed"
    assert seen == ["hooks.example.org"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "x", "gopher://a/"])
def test_what_is_no_address_of_the_web(url: str) -> None:
    with pytest.raises(Invalid):
        send("webhook", {}, {"url": url}, NOTICE)


def test_a_name_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> None:
        raise socket.gaierror

    monkeypatch.setattr("headrace.alerts.reach._addresses", unknown)
    assert code("https://nowhere.example/x") == "channel_failed"


def test_a_proxy_looks_names_up_by_itself(monkeypatch: pytest.MonkeyPatch, reach: Reach) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "in.example.org")
    names(monkeypatch, "93.184.215.14")
    assert reach.place("https://hooks.example.org/x").url.host == "hooks.example.org"
    assert reach.place("https://in.example.org/x").url.host == "93.184.215.14"
    names(monkeypatch, "10.0.0.1")
    assert code("https://hooks.example.org/x") == "private_address"
