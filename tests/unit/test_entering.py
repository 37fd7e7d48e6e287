"""Logins and certificates as they may be given: what can be used, and what is told at once."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat, load_der_private_key

from headrace.capture.connect import Connect
from headrace.capture.rest import Rest
from headrace.checks import log
from headrace.entering import Cluster, Ear, http_arguments, pkcs8
from headrace.errors import HeadraceError, Invalid, Unavailable
from headrace.settings import HttpSecurity, KafkaSecurity, from_environment
from support.certificates import Authority, Identity

Serve = Callable[[Identity, bool], str]


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def serve(ca: Authority) -> Iterator[Serve]:
    """An HTTPS server that may want a client's certificate; its URL."""
    servers: list[ThreadingHTTPServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "4.3.1"}' if self.path == "/" else b"[]")

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A handshake that fails is what is wanted."""

    def start(own: Identity, mutual: bool) -> str:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca.file)
        context.load_cert_chain(own.cert_file, own.key_file)
        context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
        server = Quiet(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"https://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def codes(url: str, **security: Any) -> list[str]:
    return [f.code for f in log.connect(url, HttpSecurity(**security))]


def refused(verb: Callable[[], object]) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        verb()
    return caught.value


# --- HTTP


def test_client_certificate_with_an_encrypted_key(serve: Serve, ca: Authority) -> None:
    own = ca.identity("client", password="a word")
    given = {"ca": str(ca.file), "cert": str(own.cert_file), "key": str(own.key_file)}
    url = serve(ca.identity("server"), True)
    assert codes(url, **given, key_password="a word") == ["connector_missing"]
    for security in (HttpSecurity(**given), HttpSecurity(**given, key_password="another")):
        error = refused(lambda s=security: log.connect(url, s))  # type: ignore[misc]
        assert error.code == "bad_setting"
        assert "_KEY_PASSWORD" in error.guidance


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({"key": "x.pem"}, "_CERT"), ({"password": "x"}, "_USER"), ({"cert": "/no/such"}, "_CERT")],
)
def test_http_settings_that_cannot_be(given: dict[str, str], wanted: str) -> None:
    error = refused(lambda: http_arguments(HttpSecurity(**given)))
    assert error.code == "bad_setting"
    assert wanted in error.guidance


def test_tls_is_told_from_an_unreachable_connect(serve: Serve, ca: Authority, tmp_path: Path) -> None:
    url, mutual = serve(ca.identity("server"), False), serve(ca.identity("server2"), True)
    other = Authority(tmp_path / "other")
    stranger = other.identity("stranger")
    cases: list[tuple[str, HttpSecurity, str]] = [
        (url, HttpSecurity(), "HEADRACE_CONNECT_CA"),
        (url, HttpSecurity(ca=str(other.file)), "HEADRACE_CONNECT_CA"),
        (mutual, HttpSecurity(ca=str(ca.file)), "HEADRACE_CONNECT_CERT"),
        (
            mutual,
            HttpSecurity(ca=str(ca.file), cert=str(stranger.cert_file), key=str(stranger.key_file)),
            "HEADRACE_CONNECT_CERT",
        ),
    ]
    for where, security, wanted in cases:
        (finding,) = log.connect(where, security)
        assert (finding.code, finding.severity) == ("connect_tls", "error")
        assert wanted in finding.guidance
        rest, connect = Rest(where, security), Connect(where, security)
        for error in (refused(lambda r=rest: r.get("/")), refused(lambda c=connect: c.config("x"))):  # type: ignore[misc]
            assert (error.code, type(error)) == ("connect_tls", Unavailable)
            assert wanted in error.guidance
        rest.close()
        connect.close()


def test_https_where_there_is_none(serve: Serve) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    (finding,) = log.connect(f"https://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    assert finding.code == "connect_tls"
    assert "http or https" in finding.guidance


@pytest.mark.parametrize("variable", ["HEADRACE_CONNECT", "HEADRACE_SCHEMA_REGISTRY"])
def test_an_address_holds_no_login(variable: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        from_environment({variable: "https://me:s3cret@host:8083/x"}, tmp_path)  # pragma: allowlist secret
    assert caught.value.code == "bad_setting"
    assert "s3cret" not in str(caught.value.as_dict())
    assert f"{variable}_PASSWORD" in caught.value.guidance
    assert from_environment({variable: "https://host:8083/a@b"}, tmp_path)


# --- Kafka


def test_kafka_keys_are_read_before_they_are_used(ca: Authority, tmp_path: Path) -> None:
    own = ca.identity("client", form=PrivateFormat.TraditionalOpenSSL, password="a word")
    given = {"security_protocol": "SSL", "cert": str(own.cert_file), "key": str(own.key_file)}
    assert Cluster("x", KafkaSecurity(**given, key_password="a word")).options()
    for word in ("", "another"):
        cluster = Cluster("x", KafkaSecurity(**given, key_password=word))
        error = refused(cluster.options)
        assert error.code == "bad_setting"
        assert "HEADRACE_KAFKA_KEY_PASSWORD" in error.message
    der = pkcs8(own.key_file, "a word", der=True)
    assert load_der_private_key(der, None).private_numbers() == own.key.private_numbers()  # type: ignore[union-attr]


def test_kafka_files_hold_what_they_should(ca: Authority, tmp_path: Path) -> None:
    own = ca.identity("client")
    (wrong := tmp_path / "wrong").write_text("x")
    pair = {"cert": str(own.cert_file), "key": str(own.key_file)}
    for given, named in (
        ({"ca": str(tmp_path / "absent")}, "_CA"),
        ({"ca": str(tmp_path)}, "_CA"),
        ({"ca": str(own.key_file)}, "_CA"),
        ({**pair, "cert": str(wrong)}, "_CERT"),
        ({**pair, "key": str(wrong)}, "_KEY"),
        ({"cert": pair["cert"]}, "_CERT"),
    ):
        error = refused(Cluster("x", KafkaSecurity("SSL", **given)).options)
        assert (error.code, f"HEADRACE_KAFKA{named}:" in error.message) == ("bad_setting", True), error


class Said:
    """An error as librdkafka words it."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.str = lambda: name, lambda: text


@pytest.mark.parametrize(
    ("name", "text", "code", "wanted"),
    [
        ("_AUTHENTICATION", "SASL authentication error (after 3ms in state X)", "kafka_denied", "PASSWORD"),
        ("_SSL", "SSL handshake failed: certificate verify failed: x", "kafka_tls", "HEADRACE_KAFKA_CA"),
        ("_TRANSPORT", "error:0A: SSL routines::tlsv13 alert certificate required", "kafka_tls", "_CERT"),
        ("_TRANSPORT", "SSL handshake failed: Disconnected", "kafka_tls", "_SECURITY_PROTOCOL"),
    ],
)
def test_why_a_broker_refuses(name: str, text: str, code: str, wanted: str) -> None:
    ear = Ear(Cluster("b:1"))
    ear(Said("_TRANSPORT", "Connect to b:1 failed: Connection refused"))
    assert ear.heard is None
    ear(Said(name, text))
    ear(Said("_ALL_BROKERS_DOWN", "1/1 brokers are down"))
    assert ear.heard is not None
    assert ear.heard.code == code
    assert wanted in ear.heard.guidance
    assert "after" not in ear.heard.message
    ear(Said("_TRANSPORT", "Connect to b:1 failed: Connection refused"))
    assert ear.heard is None, "a broker that is gone is unreachable, whatever it said before"


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert [f.code for f in log.kafka(Cluster("127.0.0.1:1"), False)] == ["kafka_unreachable"]
    assert "rdkafka" not in caplog.text
