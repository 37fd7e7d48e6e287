"""Messages written by schemas of a real registry, and the registry itself, through the API."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import fastavro
import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from headrace.capture.topics import Topics
from headrace.entering import Cluster
from headrace.local.ports import free_port
from headrace.local.stack import Stack
from headrace.settings import HttpSecurity
from support.lab import until
from support.schema_registry import SchemaRegistry
from support.serving import served

KEY = {"type": "record", "name": "Key", "namespace": "shop", "fields": [{"name": "id", "type": "long"}]}
PLACE = {
    "type": "record",
    "name": "Place",
    "namespace": "shop",
    "fields": [{"name": "city", "type": "string"}],
}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "token", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "raw", "type": "bytes"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "before", "type": ["null", "State"], "default": None},
        {"name": "note", "type": ["null", "string", "double"], "default": None},
        {"name": "place", "type": PLACE},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
    ],
}
NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
ENDLESS = {"type": "record", "name": "Endless", "fields": [{"name": "self", "type": "Endless"}]}
NULLS = {"type": "array", "items": "null"}
GIVEN = {
    "total": Decimal("1234567890.05"),
    "at": datetime(2026, 11, 26, 1, 2, 3, 4, UTC),
    "day": date(2026, 2, 28),
    "token": UUID(int=7),
    "raw": b"\x00\xff",
    "state": "NEW",
    "before": "PAID",
    "note": 0.5,
    "place": {"city": "Zürich"},
    "tags": ["a", "b"],
    "counts": {"x": 1},
}
SHOWN = {
    **GIVEN,
    "total": "1234567890.05",
    "at": "2026-11-26T01:02:03.000004Z",
    "day": "2026-02-28",
    "token": str(UUID(int=7)),
    "raw": "00ff",
}


def avro(schema: Any, value: Any) -> bytes:
    """A value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def framed(number: int, body: bytes) -> bytes:
    """Confluent's frame around it."""
    return b"\0" + struct.pack(">I", number) + body


@pytest.fixture(scope="module")
def registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry() as running:
        yield running


@contextmanager
def beside(stack: Stack, url: str, **security: str) -> Iterator[httpx.Client]:
    """A client of an API server with this registry."""
    own = replace(stack.settings, schema_registry=url, registry_security=HttpSecurity(**security))
    with served(own) as client:
        yield client


@pytest.fixture(scope="module")
def own(stack: Stack, registry: SchemaRegistry) -> Iterator[httpx.Client]:
    with beside(stack, registry.url) as client:
        yield client


def write(stack: Stack, topic: str, *messages: tuple[bytes | None, bytes | None]) -> None:
    """Messages (key, value) into a topic of one partition, which is made."""
    admin = Topics(Cluster(stack.settings.kafka))
    for future in admin._admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result(10)
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    for key, value in messages:
        producer.produce(topic, value, key, partition=0)
    assert producer.flush(30) == 0


def read(client: httpx.Client, topic: str, **query: Any) -> list[Any]:
    """The messages of a topic, the oldest first."""
    answer = client.get(f"topics/{topic}/messages", params={"offset": 0, "limit": 500, **query})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["items"]
    return found


def test_keys_and_values_are_decoded(stack: Stack, registry: SchemaRegistry, own: httpx.Client) -> None:
    key = registry.register("orders-key", json.dumps(KEY))
    value = registry.register("orders-value", json.dumps(ORDER))
    write(stack, "orders", (framed(key, avro(KEY, {"id": 2**60})), framed(value, avro(ORDER, GIVEN))))
    (one,) = read(own, "orders")
    assert one["key"] == {
        "format": "avro",
        "data": {"id": 2**60},
        "bytes": 14,
        "schema_id": key,
        "reason": None,
    }
    assert (one["value"]["format"], one["value"]["data"]) == ("avro", SHOWN)


def test_a_schema_that_refers_to_another(stack: Stack, registry: SchemaRegistry, own: httpx.Client) -> None:
    registry.register("places", json.dumps({**PLACE, "name": "Spot"}))
    fields = [{"name": "at", "type": "shop.Spot"}, {"name": "then", "type": ["null", "shop.Spot"]}]
    trip = {"type": "record", "name": "Trip", "namespace": "shop", "fields": fields}
    refers = [{"name": "shop.Spot", "subject": "places", "version": 1}]
    number = registry.register("trips-value", json.dumps(trip), references=refers)
    write(stack, "trips", (None, framed(number, b"\x04Ur" + b"\x02\x04Ox")))
    assert read(own, "trips")[0]["value"]["data"] == {"at": {"city": "Ur"}, "then": {"city": "Ox"}}


def test_json_schema_and_protobuf(stack: Stack, registry: SchemaRegistry, own: httpx.Client) -> None:
    of_json = registry.register(
        "things-value", '{"$schema": "http://json-schema.org/draft-07/schema#"}', "JSON"
    )
    proto = registry.register("protos-value", 'syntax = "proto3"; message M { string a = 1; }', "PROTOBUF")
    values = [framed(of_json, b'{"a": 1}'), framed(of_json, b"{"), framed(proto, b"\0\x0a\x01x")]
    write(stack, "things", *((None, value) for value in values))
    shown = [m["value"] for m in read(own, "things")]
    assert (shown[0]["format"], shown[0]["data"], shown[0]["schema_id"]) == ("json", {"a": 1}, of_json)
    assert [(s["format"], s["schema_id"]) for s in shown[1:]] == [("text", of_json), ("text", proto)]
    assert "it is none" in shown[1]["reason"]
    assert "PROTOBUF" in shown[2]["reason"]


def test_what_no_schema_explains_is_raw_with_the_reason(
    stack: Stack, registry: SchemaRegistry, own: httpx.Client
) -> None:
    node = registry.register("nodes", json.dumps(NODE))
    endless = registry.register("endless", json.dumps(ENDLESS))
    nulls = registry.register("nulls", json.dumps(NULLS))
    text = registry.register("text", '"string"')
    hostile = [
        (framed(4711, b"\xff"), "schema 4711"),
        (framed(nulls, avro("long", 2**40)), "too many values"),
        (framed(endless, b""), "deeper"),
        (framed(node, b"\x02" * 200_000), "deeper"),
        (framed(text, avro("long", 2**62) + b"x"), "ends too early"),
        (framed(text, avro("string", "whole")[:-1]), "ends too early"),
        (framed(text, avro("string", "whole") + b"more"), "left over"),
    ]
    plain = [
        (b'{"deep": ' + b"[" * 400 + b"]" * 400 + b"}", None),
        (b'["\\ud800", 1e999]', None),
        (b"\0\0", None),
    ]
    write(stack, "hostile", *((None, value) for value, _ in [*hostile, *plain]))
    began = time.monotonic()
    shown = [m["value"] for m in read(own, "hostile")]
    assert time.monotonic() - began < 8
    for one, (value, why) in zip(shown, [*hostile, *plain], strict=True):
        assert one["format"] in ("text", "binary")
        assert one["bytes"] == len(value)
        assert (one["reason"] is None) if why is None else (why in one["reason"]), one["reason"]
    assert own.get("health/live").status_code == 200


def test_a_page_of_other_peoples_zeros_asks_the_registry_a_few_times(stack: Stack, own: httpx.Client) -> None:
    write(stack, "longs", *((struct.pack(">q", 2**32 * n + 5), b"{}") for n in range(300, 800)))
    began = time.monotonic()
    reasons = [m["key"]["reason"] for m in read(own, "longs")]
    assert time.monotonic() - began < 15
    assert len(reasons) == 500
    assert "enough for one page" in reasons[-1]


def costs_one_wait(client: httpx.Client, topic: str) -> None:
    """Messages are shown as they are, soon, and nobody sees a fault of the server."""
    for _ in range(3):
        began = time.monotonic()
        shown = read(client, topic)
        assert time.monotonic() - began < 8
        assert not any(m["value"]["format"] == "avro" for m in shown)
        assert all("schema registry" in m["value"]["reason"] for m in shown)
    answer = client.get("schema-registry/subjects")
    assert (answer.status_code, answer.json()["kind"]) == (503, "unavailable")


def test_a_registry_that_is_not_there(stack: Stack) -> None:
    write(stack, "gone", *((framed(n, b"x"), framed(n, b"y")) for n in range(1, 101)))
    with beside(stack, f"http://127.0.0.1:{free_port()}") as client:
        costs_one_wait(client, "gone")


def test_a_registry_that_hangs_and_comes_back(stack: Stack, registry: SchemaRegistry) -> None:
    number = registry.register("late", '"string"')
    write(stack, "late", (None, framed(number, avro("string", "here"))))
    write(stack, "hung", *((framed(n, b"x"), framed(n, b"y")) for n in range(5000, 5100)))
    with beside(stack, registry.url) as client:
        registry.freeze()
        try:
            costs_one_wait(client, "hung")
        finally:
            registry.thaw()

        def decoded() -> bool:
            return bool(read(client, "late")[0]["value"]["data"] == "here")

        until(decoded, 30, "decoding after the registry came back")


def test_subjects_and_versions_in_pages(registry: SchemaRegistry, own: httpx.Client) -> None:
    for n in range(3):
        fields = [{"name": f"f{m}", "type": ["null", "int"], "default": None} for m in range(n + 1)]
        registry.register("paged-a", json.dumps({"type": "record", "name": "P", "fields": fields}))
    for name in ("paged-c", "paged-b", ".."):
        registry.register(name.replace("..", "%2E%2E"), '"int"')
    asked = {"q": "PAGED", "limit": 2, "offset": 1}
    found = own.get("schema-registry/subjects", params=asked).json()
    assert found == {"items": ["paged-b", "paged-c"], "total": 3, "limit": 2, "offset": 1}
    found = own.get("schema-registry/subjects/paged-a/versions", params={"limit": 2, "offset": 2}).json()
    assert found == {"items": [3], "total": 3, "limit": 2, "offset": 2}
    latest = own.get("schema-registry/subjects/paged-a/versions/latest").json()
    assert (latest["version"], latest["type"], len(json.loads(latest["schema"])["fields"])) == (3, "AVRO", 3)
    assert own.get("schema-registry/subjects/paged-a/versions/3").json() == latest


@pytest.mark.parametrize(
    "path", ["nothing/versions", "paged-a/versions/9", "paged-a/versions/0", "%2E%2E/versions/7"]
)
def test_what_is_not_in_the_registry(registry: SchemaRegistry, own: httpx.Client, path: str) -> None:
    answer = own.get(f"schema-registry/subjects/{path}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (404, "schema_registry_not_found")


def test_an_address_that_is_no_registry(stack: Stack, registry: SchemaRegistry) -> None:
    for path in ("/", "/apis/ccompat", "/apis/registry/v3/system/info"):
        with beside(stack, registry.url.replace("/apis/ccompat/v7", path)) as client:
            # On a busy machine it may take longer than our patience.
            answer = until(partial(told, client), 60, path)
            assert (answer.status_code, answer.json()["code"]) == (503, "schema_registry_answer"), path
    with beside(stack, stack.settings.connect) as client:
        assert client.get("schema-registry/subjects").json()["code"] == "schema_registry_answer"
        write(stack, "elsewhere", (None, framed(1, b"x")))
        assert read(client, "elsewhere")[0]["value"]["reason"]


def told(client: httpx.Client) -> httpx.Response | None:
    """The answer of a registry that answered."""
    answer = client.get("schema-registry/subjects")
    return None if answer.json().get("code") == "schema_registry_unreachable" else answer


class Porter(ThreadingHTTPServer):
    """Lets through to a registry who has the password, as a proxy before it does."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.behind = url
        self.wanted = "Basic " + base64.b64encode("reader:geheim äöü".encode()).decode()


class Door(BaseHTTPRequestHandler):
    server: Porter

    def do_GET(self) -> None:
        if self.headers.get("authorization") != self.server.wanted:
            status, content = 401, b""
        else:
            answer = httpx.get(self.server.behind + self.path)
            status, content = answer.status_code, answer.content
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def test_basic_authentication(stack: Stack, registry: SchemaRegistry) -> None:
    number = registry.register("behind", '"string"')
    write(stack, "behind", (None, framed(number, avro("string", "seen"))))
    with Porter(registry.url) as porter:
        threading.Thread(target=porter.serve_forever).start()
        url = f"http://127.0.0.1:{porter.server_address[1]}"
        try:
            with beside(stack, url, user="reader", password="geheim äöü") as client:
                assert read(client, "behind")[0]["value"]["data"] == "seen"
            with beside(stack, url, user="reader", password="wrong-4711") as client:
                answer = client.get("schema-registry/subjects")
                assert (answer.status_code, answer.json()["code"]) == (503, "schema_registry_denied")
                assert "HEADRACE_SCHEMA_REGISTRY_USER" in answer.json()["guidance"]
                one = read(client, "behind")[0]["value"]
                assert (one["format"], "wrong-4711" in answer.text) == ("text", False)
                assert "does not let Headrace in (401)" in one["reason"]
        finally:
            porter.shutdown()
