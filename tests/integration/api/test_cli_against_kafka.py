"""The command line's connectors and topics against a real Kafka and Kafka Connect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack
from support.lab import until

SECRET = "planted-secret-4711"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(api: httpx.Client, stack: Stack) -> Run:
    """Run a command: exit code, standard output, standard error."""
    url = str(api.base_url).removesuffix("/api/v1/")
    env = {
        "HEADRACE_SERVER": url,
        "HEADRACE_TOKEN": stack.settings.token_file.read_text().strip(),
        "HEADRACE_DATA": str(stack.data / "nothing"),
    }

    def invoke(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(words), env=env)
        return result.exit_code, result.stdout, result.stderr

    return invoke


@pytest.fixture
def connector(api: httpx.Client, source: PostgresServer) -> str:
    """The name of a running connector that belongs to no pipeline."""
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": str(source.port),
        "database.user": "capturer",
        "database.password": SECRET,
        "database.dbname": "postgres",
        "topic.prefix": "typed",
        "plugin.name": "pgoutput",
        "slot.name": "typed",
        "publication.name": "typed",
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    }
    made = api.post("connectors", json={"name": "typed [x]", "config": config})
    assert made.status_code == 201, made.text
    return "typed [x]"


def test_a_connector_from_the_command_line(run: Run, connector: str, source: PostgresServer) -> None:
    said: list[str] = []

    def answer(*words: str, code: int = 0) -> Any:
        got = run("connectors", *words, "--json")
        people = run("connectors", *words) if words[0] in ("list", "show", "offsets") else got
        said.extend([got[1], got[2], people[1], people[2]])
        assert got[0] == people[0] == code, got
        return json.loads(got[1])

    def states() -> list[str]:
        listed = answer("list", "--search", "TYPED")
        return [s for c in listed for s in (c["connector"]["state"], *(t["state"] for t in c["tasks"]))]

    until(lambda: states() == ["RUNNING", "RUNNING"], 60, "a running connector")
    until(lambda: answer("offsets", connector)["offsets"], 60, "its first offset")
    found = answer("show", connector)
    assert (found["type"], found["pipeline"]) == ("source", None)
    assert any("connector.class" in text and connector in text for text in said)
    assert [c["name"] for c in answer("list", "--type", "source", "--state", "running")] == [connector]
    assert answer("list", "--type", "sink") == []
    answer("pause", connector)
    until(lambda: states() == ["PAUSED", "PAUSED"], 30, "its rest")
    answer("resume", connector)
    until(lambda: states() == ["RUNNING", "RUNNING"], 30, "its going on")
    answer("restart", connector)
    answer("restart", connector, "--only-failed")
    until(lambda: states() == ["RUNNING", "RUNNING"], 30, "its new start")
    answer("restart", connector, "--task", "0")
    assert answer("offsets", connector, "--reset", code=1)["error"]["kind"] == "conflict"
    answer("stop", connector)
    until(lambda: states() == ["STOPPED"], 30, "its end")
    assert answer("offsets", connector, "--reset") == {"name": connector, "offsets": []}
    assert answer("offsets", connector)["offsets"] == []
    assert answer("delete", connector) == {"name": connector, "deleted": True}
    assert answer("show", connector, code=3)["error"]["kind"] == "not_found"
    with psycopg.connect(source.conninfo, autocommit=True) as conn:
        conn.execute("SELECT pg_drop_replication_slot('typed')")
    assert not [text for text in said if SECRET in text]


def test_topics_from_the_command_line(run: Run, stack: Stack) -> None:
    def answer(*words: str, code: int = 0) -> tuple[Any, str]:
        got, people = run("topics", *words, "--json"), run("topics", *words)
        assert got[0] == people[0] == code, (got, people)
        return json.loads(got[1]), people[1]

    admin = AdminClient({"bootstrap.servers": stack.settings.kafka})
    admin.create_topics([NewTopic("looked.at", 1, 1)])["looked.at"].result(30)
    send(
        stack,
        "looked.at",
        [(f"k{n % 2}", json.dumps({"n": n, "text": "[x] " + "y" * n})) for n in range(300)],
    )
    send(stack, "looked.at", [("gone", None)])
    found, people = answer("list", "--search", "LOOKED")
    assert [t["name"] for t in found] == ["looked.at"]
    assert "looked.at" in people
    assert not [t for t in answer("list")[0] if t["internal"]]
    assert [t for t in answer("list", "--internal")[0] if t["internal"]]
    found, people = answer("show", "looked.at")
    assert (found["partitions"][0]["end"], found["messages"]) == (301, 301)
    assert "301 messages at most" in people
    found, people = answer("messages", "looked.at", "--limit", "2")
    assert [m["value"]["data"] for m in found] == [None, {"n": 299, "text": "[x] " + "y" * 299}]
    assert "null" in people
    assert "[x] y" in people
    assert "y" * 200 not in people
    found, _ = answer("messages", "looked.at", "--offset", "5", "--partition", "0", "--limit", "3")
    assert [m["offset"] for m in found] == [5, 6, 7]
    found, _ = answer("messages", "looked.at", "--key", "k0", "--limit", "2")
    assert [m["value"]["data"]["n"] for m in found] == [298, 296]
    assert answer("show", "no-such", code=3)[0]["error"]["code"] == "no_such_topic"
    assert answer("messages", "no-such", code=3)[0]["error"]["code"] == "no_such_topic"


def send(stack: Stack, topic: str, messages: list[tuple[str, str | None]]) -> None:
    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    for key, value in messages:
        producer.produce(
            topic, value, key, on_delivery=lambda error, _: failed.append(error) if error else None
        )
    assert (producer.flush(30), failed) == (0, [])
