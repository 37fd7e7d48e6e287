"""Servers that are named wrongly, or whose TLS does not fit: what is said names what to mend."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cli_tools import Cli

from support.certificates import Authority


class Nothing(BaseHTTPRequestHandler):
    """Answers 501 to everything."""

    def log_message(self, *_args: object) -> None:
        """Nothing is said."""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server with TLS, and the CA that signed its certificate."""
    authority = Authority(tmp_path)
    own = authority.identity("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.cert_file, own.key_file)
    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}", authority.file
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("words", [("status",), ("login", "--email", "a@example.org")])
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8230", "ftp://x", "x", "http://", "http://x:port", "http://x:99999", "http://x/#token=y"],
)
def test_what_is_no_address_is_said(cli: Cli, address: str, words: tuple[str, ...]) -> None:
    answer = cli(*words, "--server", address, "--json", HEADRACE_PASSWORD="x")
    assert (answer.code, answer.json["error"]["code"]) == (2, "bad_server")
    assert "http://HOST:PORT" in answer.json["error"]["guidance"]


def test_a_certificate_that_is_not_believed_is_named(cli: Cli, secured: tuple[str, Path]) -> None:
    url, ca = secured
    error = cli("status", "--server", url, "--json").json["error"]
    assert error["code"] == "server_certificate"
    assert url in error["message"]
    assert "SSL_CERT_FILE" in error["guidance"]
    believed = cli("status", "--server", url, "--json", SSL_CERT_FILE=str(ca))
    # That is no Headrace; but it was reached.
    assert believed.json["error"]["code"] == "bad_gateway"


def test_tls_where_there_is_none(cli: Cli) -> None:
    answer = cli("status", "--server", cli.url.replace("http:", "https:"), "--json")
    assert (answer.code, answer.json["error"]["code"]) == (5, "server_tls")


def test_nobody_there(cli: Cli) -> None:
    answer = cli("status", "--server", "http://127.0.0.1:1", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (5, "no_server")
