"""Kafka and Connect as they may be met: old, without the plugin, strict, gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from headrace.checks import log
from headrace.entering import Cluster

Serve = Callable[[dict[str, Any]], str]
VALIDATE = f"/connector-plugins/{log.CONNECTOR}/config/validate"
GOOD: dict[str, Any] = {
    "/": {"version": "4.3.1"},
    "/connector-plugins": [{"class": log.CONNECTOR, "type": "source", "version": "3.7.0.Final"}],
    VALIDATE: {"configs": []},
}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers given paths with given JSON (a number is a status); what is not given is 404. Returns the URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers.get(self.path, 404)
                body = json.dumps(answer).encode()
                self.send_response(answer if isinstance(answer, int) else 200)
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def found(url: str) -> list[tuple[str, str]]:
    return [(f.severity, f.code) for f in log.connect(url)]


def test_a_good_worker(serve: Serve) -> None:
    assert found(serve(GOOD)) == []


def test_old_worker_without_the_plugin(serve: Serve) -> None:
    url = serve({"/": {"version": "3.6.2"}, "/connector-plugins": []})
    assert found(url) == [("error", "connect_version"), ("error", "connector_missing")]


def test_old_plugin(serve: Serve) -> None:
    plugin = {"class": log.CONNECTOR, "type": "source", "version": "3.5.0.Final"}
    url = serve(GOOD | {"/connector-plugins": [plugin]})
    assert found(url) == [("warning", "connector_version")]
    newer = plugin | {"version": "3.10.1.Final"}
    assert found(serve(GOOD | {"/connector-plugins": [plugin, newer]})) == []


def test_worker_without_exactly_once_and_overrides(serve: Serve) -> None:
    refused = [
        {"value": {"name": "exactly.once.support", "errors": ["This worker does not have ..."]}},
        {"value": {"name": "producer.override.transaction.timeout.ms", "errors": ["not allowed"]}},
        {"value": {"name": "database.hostname", "errors": ["A value is required"]}},
    ]
    url = serve(GOOD | {VALIDATE: {"configs": refused}})
    assert found(url) == [("error", "connect_exactly_once"), ("error", "connect_overrides")]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", ["/", "/connector-plugins"])
def test_not_let_in(serve: Serve, path: str, status: int) -> None:
    (finding,) = log.connect(serve(GOOD | {path: status}))
    assert (finding.severity, finding.code) == ("error", "connect_denied")
    assert str(status) in finding.message
    assert "HEADRACE_CONNECT_USER" in finding.guidance


def test_something_else_answers(serve: Serve) -> None:
    assert found(serve({})) == [("error", "connect_unreachable")]
    assert found("not a url") == [("error", "connect_unreachable")]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("http://127.0.0.1:1") == [("error", "connect_unreachable")]
    monkeypatch.setattr(log, "TIMEOUT_S", 0.3)
    assert [f.code for f in log.kafka(Cluster("127.0.0.1:1"), True)] == ["kafka_unreachable"]


def test_brokers_that_hide_their_settings() -> None:
    """librdkafka's own mock cluster, which answers no DescribeConfigs."""
    assert log.kafka(Cluster(""), False, {"test.mock.num.brokers": 1}) == []
    found = log.kafka(Cluster(""), True, {"test.mock.num.brokers": 1})
    assert [(f.severity, f.code) for f in found] == [
        ("warning", "kafka_brokers"),
        ("info", "kafka_config_hidden"),
    ]
    assert [f.code for f in log.kafka(Cluster(""), True, {"test.mock.num.brokers": 3})] == [
        "kafka_config_hidden"
    ]


def test_old_protocol() -> None:
    assert [f.code for f in log._kafka_version({"inter.broker.protocol.version": "2.6-IV0"})] == [
        "kafka_version"
    ]
    assert list(log._kafka_version({"inter.broker.protocol.version": "3.10-IV0"})) == []
