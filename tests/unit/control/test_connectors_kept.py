"""A connector's secrets stay at the setting they were given for, and are used with the servers they were given for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from headrace.control.connectors import Connectors
from headrace.errors import Invalid
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.store import Store

PLUGIN = "io.example.Source"
CONFIG = {
    "connector.class": PLUGIN,
    "database.hostname": "db",
    "database.port": "5432",
    "database.user": "u",
    "database.password": "hunter2",
    "database.dbname": "d",
    "topic.prefix": "p",
    "transforms": "x",
    "transforms.x.type": "io.example.Sealing",
    "transforms.x.secret": "sealed-with-this",
    "topic.creation.default.partitions": "1",
}


@pytest.fixture
def kept() -> dict[str, dict[str, str]]:
    """What Kafka Connect was given: connector -> configuration."""
    return {}


@pytest.fixture
def connect(kept: dict[str, dict[str, str]]) -> Iterator[str]:
    """What stands for Kafka Connect's REST API."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, found: Any) -> None:
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found or {"message": "none"}).encode())

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            match self.path.strip("/").split("/"):
                case ["connector-plugins", *_]:
                    self._answer([{"name": "database.password", "type": "PASSWORD"}])
                case ["connectors", name, "config"]:
                    self._answer(kept.get(name))
                case ["connectors", name]:
                    self._answer({"name": name, "config": kept[name]} if name in kept else None)
                case _:
                    self._answer({"connector": {"state": "STOPPED"}, "tasks": []})

        def do_POST(self) -> None:
            body = self._body()
            kept[body["name"]] = body["config"]
            self._answer(body)

        def do_PUT(self) -> None:
            body, (kind, name, *_) = self._body(), self.path.strip("/").split("/")
            if kind == "connectors":
                kept[name] = body
            self._answer({"name": name, "configs": [], "error_count": 0})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def use(tmp_path: Path, connect: str) -> Iterator[Connectors]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    settings = Settings(tmp_path, connect=connect, connect_secrets=secrets)
    store = Store(settings)
    cases = Connectors(settings, store)
    yield cases
    cases.close()
    store.close()


def test_a_reference_stays_where_it_stands(use: Connectors, kept: dict[str, dict[str, str]]) -> None:
    shown = use.create("c", CONFIG)["config"]
    reference = shown["database.password"]
    assert reference.startswith("${dir:")
    inserted = {
        "transforms": "x,secret",
        "transforms.secret.type": "org.apache.kafka.connect.transforms.InsertField$Value",
    }
    for stolen in (
        {**inserted, "transforms.secret.static.value": reference},
        {**inserted, "transforms.secret.static.value": f"x{reference}"},
        {"predicates.secret.pattern": reference},
        {"my.token": reference},
        {"transforms.x.secret": reference},
        {"topic.prefix": reference},
        {"database.password": shown["transforms.x.secret"]},
    ):
        with pytest.raises(Invalid) as caught:
            use.configure("c", {**shown, **stolen}, False)
        assert caught.value.code == "secret_reference"
    with pytest.raises(Invalid, match="secret of another connector"):
        use.create("thief", {**CONFIG, "database.password": reference})
    assert kept == {"c": shown}
    # Written again as it is shown, or with what says nothing of the place, it stays.
    new = {**shown, "heartbeat.interval.ms": "7", "database.password": MASK}
    assert use.configure("c", new, False)["config"] == {**new, "database.password": reference}
    other = {"transforms": "x,y", "transforms.y.type": "io.example.Flat", "key.converter": "io.example.Json"}
    assert use.configure("c", {**shown, **other}, False)["config"] == {**shown, **other}


def test_a_reference_left_behind_is_nobodys(use: Connectors, kept: dict[str, dict[str, str]]) -> None:
    shown = use.create("c", CONFIG)["config"]
    # Deleted at Kafka Connect itself: the file is there, and the name is free.
    kept.clear()
    with pytest.raises(Invalid) as caught:
        use.create("c", {**shown, "database.hostname": "elsewhere"})
    assert caught.value.code == "secret_reference"


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "elsewhere",
    [
        {"database.hostname": "elsewhere"},
        {"database.port": "1"},
        {"database.user": "x"},
        {"database.dbname": "d?PGHOST=x"},
        {"database.sslmode": "disable"},
        {"connection.url": "jdbc:x://elsewhere/d"},
        {"bootstrap.servers": "elsewhere:1"},
        {"driver.socketFactory": "x"},
        {"connector.class": "io.example.Other"},
        {"transforms.x.type": "io.example.Telling"},
    ],
    ids=str,
)
def test_a_secret_that_is_not_sent_goes_nowhere_else(
    use: Connectors, kept: dict[str, dict[str, str]], elsewhere: dict[str, str], masked: bool
) -> None:
    shown = use.create("c", CONFIG)["config"]
    secrets = ("database.password", "transforms.x.secret")
    sent = {**shown, **elsewhere} | (dict.fromkeys(secrets, MASK) if masked else {})
    with pytest.raises(Invalid) as caught:
        use.configure("c", sent, False)
    assert (caught.value.code, caught.value.context["changed"]) == ("secret_needed", list(elsewhere))
    assert kept == {"c": shown}
    anew = {**shown, **elsewhere, **{k: CONFIG[k] for k in secrets}}
    assert use.configure("c", anew, False)["config"] == {**shown, **elsewhere}


def test_no_kept_secret_is_validated_with(use: Connectors) -> None:
    shown = use.create("c", CONFIG)["config"]
    for name in ({"name": "c"}, {"name": "validated"}, {}):
        with pytest.raises(Invalid) as caught:
            use.validate(PLUGIN, {**shown, **name, "database.port": "1"})
        assert caught.value.code == "secret_reference"
    use.create("validated", CONFIG)
    own = use.one("validated")["config"]
    with pytest.raises(Invalid):
        use.validate(PLUGIN, own)
    assert use.validate(PLUGIN, CONFIG)["error_count"] == 0
