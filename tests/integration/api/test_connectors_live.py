"""A connector's whole life through the API, against a real Kafka Connect that comes and goes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from headrace.local.connect import connect_service
from headrace.local.folder import prepare
from headrace.local.ports import free_ports
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack
from support.lab import until

SECRET = "planted-secret-4711"
JSON = dict[str, Any]


def config(source: PostgresServer, name: str, **more: str) -> dict[str, str]:
    """A Debezium connector without a snapshot."""
    word = re.sub(r"\W", "_", name)
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": str(source.port),
        "database.user": "capturer",
        "database.password": SECRET,
        "database.dbname": "postgres",
        "topic.prefix": f"p.{word}",
        "plugin.name": "pgoutput",
        "slot.name": f"s_{word}",
        "publication.name": f"p_{word}",
        "snapshot.mode": "no_data",
        **more,
    }


def state(api: httpx.Client, name: str) -> str:
    """State of the connector and its tasks, e.g. ``RUNNING RUNNING``."""
    answer = api.get(f"connectors/{name}/status")
    if answer.status_code != 200:
        return str(answer.status_code)
    found = answer.json()
    return " ".join([found["connector"]["state"], *(t["state"] for t in found["tasks"])])


def test_the_whole_life_of_a_connector(api: httpx.Client, stack: Stack, source: PostgresServer) -> None:
    said: list[str] = []

    def call(method: str, path: str, expected: int, **how: Any) -> httpx.Response:
        answer = api.request(method, path, **how)
        assert answer.status_code == expected, answer.text
        said.append(answer.text)
        return answer

    # plugins and validation
    plugin = "io.debezium.connector.postgresql.PostgresConnector"
    assert plugin in {p["class"] for p in call("GET", "connector-plugins", 200).json()["items"]}
    wrong = {**config(source, "life"), "database.port": "no number", "database.dbname": ""}
    checked = call("PUT", f"connector-plugins/{plugin}/config/validate", 200, json=wrong).json()
    assert {"database.port", "database.dbname"} <= checked["errors"].keys()
    assert (
        call("POST", "validate/debezium", 200, json={"config": config(source, "life")}).json()["error_count"]
        == 0
    )
    call("PUT", "connector-plugins/nope/config/validate", 404, json={})
    # create
    refused = call("POST", "connectors", 400, json={"name": "life", "config": wrong})
    assert refused.json()["code"] == "connect_invalid"
    assert list(stack.settings.connect_secrets.iterdir()) == []  # type: ignore[union-attr]
    made = call("POST", "connectors", 201, json={"name": "life", "config": config(source, "life")})
    assert made.json()["config"]["database.password"].startswith("${dir:")
    again = call("POST", "connectors", 409, json={"name": "life", "config": config(source, "life")})
    assert again.json()["code"] == "exists_already"
    until(lambda: state(api, "life") == "RUNNING RUNNING", 60, "a running connector")
    # read
    listed = call("GET", "connectors", 200, params={"type": "source", "state": "running", "q": "LIF"}).json()
    assert (listed["total"], listed["items"][0]["pipeline"]) == (1, None)
    assert call("GET", "connectors", 200, params={"type": "sink"}).json()["total"] == 0
    assert call("GET", "connectors/life/tasks", 200).json()["items"][0]["state"] == "RUNNING"
    read = call("GET", "connectors/life", 200)
    # update
    new = {**read.json()["config"], "heartbeat.interval.ms": "1000"}
    stale = {"if-match": '"another"'}
    assert call("PUT", "connectors/life/config", 412, json=new, headers=stale).json()["code"] == "stale"
    match = {"if-match": read.headers["etag"]}
    changed = call("PUT", "connectors/life/config", 200, json=new, headers=match)
    assert changed.json()["config"]["heartbeat.interval.ms"] == "1000"
    masked = {**new, "database.password": "********"}
    assert (
        call("PUT", "connectors/life/config", 200, json=masked)
        .json()["config"]["database.password"]
        .startswith("${")
    )
    until(lambda: state(api, "life") == "RUNNING RUNNING", 60, "a running connector")
    # pause, resume, restart
    call("PUT", "connectors/life/pause", 202)
    until(lambda: state(api, "life") == "PAUSED PAUSED", 60, "a paused connector")
    call("PUT", "connectors/life/resume", 202)
    until(lambda: state(api, "life") == "RUNNING RUNNING", 60, "a running connector")
    call("POST", "connectors/life/restart", 202)
    call("POST", "connectors/life/tasks/0/restart", 202)
    call("POST", "connectors/life/tasks/7/restart", 404)
    # offsets
    with psycopg.connect(source.conninfo, autocommit=True) as conn:
        conn.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    until(lambda: api.get("connectors/life/offsets").json()["offsets"], 60, "offsets")
    assert call("DELETE", "connectors/life/offsets", 409).json()["code"] == "not_stopped"
    call("PUT", "connectors/life/stop", 202)
    until(lambda: state(api, "life") == "STOPPED", 60, "a stopped connector")
    kept = call("GET", "connectors/life/offsets", 200).json()["offsets"]
    altered = [{**kept[0], "offset": {**kept[0]["offset"], "lsn": kept[0]["offset"]["lsn"] + 1}}]
    assert (
        call("PATCH", "connectors/life/offsets", 200, json={"offsets": altered}).json()["offsets"] == altered
    )
    call("DELETE", "connectors/life/offsets", 204)
    assert call("GET", "connectors/life/offsets", 200).json()["offsets"] == []
    # delete
    call("DELETE", "connectors/life", 204)
    until(lambda: state(api, "life") == "404", 30, "a deleted connector")
    call("DELETE", "connectors/life", 404)
    assert list(stack.settings.connect_secrets.iterdir()) == []  # type: ignore[union-attr]
    said.append(api.get("audit", params={"entity_type": "connector", "limit": 1000}).text)
    assert {"created", "updated", "deleted", "offsets_reset"} <= {
        a["action"] for a in json.loads(said[-1])["items"]
    }
    assert not [text for text in said if SECRET in text]


def test_no_secret_leaves_by_connect_or_kafka_or_the_metadata(
    api: httpx.Client, stack: Stack, source: PostgresServer
) -> None:
    more = {
        "producer.override.sasl.jaas.config": f'x required username="u" password="{SECRET}-jaas";',
        "some.url": f"jdbc:postgresql://u:{SECRET}-url@h/d",
        "initial_state": "x",
    }
    made = api.post("connectors", json={
        "name": "planted", "config": config(source, "planted", **more), "initial_state": "STOPPED",
    })  # fmt: skip
    assert made.status_code == 201, made.text
    everything = f"{stack.settings.connect}/connectors?expand=info&expand=status"
    until(lambda: "planted" in httpx.get(everything, trust_env=False).text, 20, "the connector in the list")
    direct = httpx.get(everything, trust_env=False).text
    reader = Consumer(
        {"bootstrap.servers": stack.settings.kafka, "group.id": "secrets", "enable.auto.commit": False}
    )
    records = []
    topic = TopicPartition("headrace-connect-configs", 0, 0)
    end = reader.get_watermark_offsets(topic)[1]
    reader.assign([topic])
    while not records or records[-1].offset() < end - 2:
        if (message := reader.poll(10)) is None:
            break
        records.append(message)
    reader.close()
    assert any(b"planted" in (r.value() or b"") for r in records)
    topic_text = "".join(str(r.value()) for r in records)
    answers = made.text + api.get("connectors/planted").text + api.get("audit").text
    assert SECRET not in answers
    for told in (direct, topic_text):
        assert f"{SECRET}-jaas" not in told
        assert SECRET not in told.replace(f"{SECRET}-url", "")
    for file in stack.settings.data.glob("headrace.db*"):
        assert SECRET.encode() not in file.read_bytes()
    secrets = [f for f in stack.settings.connect_secrets.iterdir() if SECRET in f.read_text()]  # type: ignore[union-attr]
    assert len(secrets) == 2
    assert {f.stat().st_mode & 0o777 for f in secrets} == {0o600}
    assert api.delete("connectors/planted").status_code == 204


def test_references_do_not_show_what_they_stand_for(api: httpx.Client, source: PostgresServer) -> None:
    wanted = config(source, "holder")
    made = api.post("connectors", json={"name": "holder", "config": wanted, "initial_state": "STOPPED"})
    assert made.status_code == 201, made.text
    kept = made.json()["config"]
    reference = kept["database.password"]
    assert reference.startswith("${dir:")
    validate = f"connector-plugins/{wanted['connector.class']}/config/validate"
    theft = config(source, "thief", **{"database.password": reference})
    detour = {**theft, "database.password": reference.replace("connect-secrets", "./connect-secrets")}
    topic = config(source, "thief", **{"heartbeat.topics.prefix": f"x-{reference}"})
    # Its own, where everybody reads it: in a topic's name, in every record.
    open_ = {**kept, "slot.name": reference}
    told = {**kept, "transforms": "secret", "transforms.secret.static.value": reference}
    told["transforms.secret.type"] = "org.apache.kafka.connect.transforms.InsertField$Value"
    told["transforms.secret.static.field"] = "password"
    # Its own, where Connect would send it wherever the configuration says.
    mine = {**kept, "name": "holder", "database.port": "1"}
    for answer in (
        *(api.put(validate, json=stolen) for stolen in (theft, detour, topic, open_, mine)),
        api.post("validate/debezium", json={"config": mine}),
        *(api.post("connectors", json={"name": "thief", "config": c}) for c in (theft, detour, topic)),
        *(api.put("connectors/holder/config", json=stolen) for stolen in (open_, told)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "secret_reference"), answer.text
    for password in (reference, "********"):
        moved = {**kept, "database.hostname": "elsewhere", "database.password": password}
        answer = api.put("connectors/holder/config", json=moved)
        assert (answer.status_code, answer.json()["code"]) == (422, "secret_needed"), answer.text
    # What is shown may be written again as it is.
    assert api.put("connectors/holder/config", json=kept).json()["config"] == kept
    assert api.delete("connectors/holder").status_code == 204


def test_names_that_need_care(api: httpx.Client, source: PostgresServer) -> None:
    for name in ("a b", "ünïcode", "q?m#k"):
        settings = config(source, "care")
        made = api.post("connectors", json={"name": name, "config": settings, "initial_state": "STOPPED"})
        assert made.status_code == 201, made.text
        where = f"connectors/{quote(name, safe='')}"
        assert api.get(where).json()["name"] == name
        assert api.delete(where).status_code == 204
    for name in ("a/b", "per%cent", "..", "a;b"):
        refused = api.post("connectors", json={"name": name, "config": config(source, "care")})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_name")
    differs = api.post("connectors", json={"name": "a", "config": {**config(source, "a"), "name": "b"}})
    assert (differs.status_code, differs.json()["code"]) == (422, "name_differs")


@pytest.fixture
def quiet(api: httpx.Client, source: PostgresServer) -> Iterator[str]:
    """A stopped connector."""
    body = {"name": "quiet", "config": config(source, "quiet"), "initial_state": "STOPPED"}
    assert api.post("connectors", json=body).status_code == 201
    yield "quiet"
    until(lambda: api.delete("connectors/quiet").status_code in (204, 404), 60, "a deleted connector")


def test_rebalances_keep_their_status(api: httpx.Client, stack: Stack, quiet: str) -> None:
    seen: set[int] = set()
    codes: set[str] = set()
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            for method, path in (
                ("GET", "connectors"),
                ("PUT", "connectors/quiet/stop"),
                ("POST", "connectors/quiet/restart"),
            ):
                answer = api.request(method, path)
                seen.add(answer.status_code)
                if answer.status_code >= 400:
                    codes.add(answer.json()["code"])

    threads = [threading.Thread(target=storm) for _ in range(3)]
    (port,) = free_ports(1)
    prepare(stack.data / "second")
    second = connect_service(stack.data / "second", port, stack.settings.kafka)
    for thread in threads:
        thread.start()
    try:
        second.start()
        second.wait_healthy()
        second.kill()
        until(lambda: 409 in seen or not second.alive, 20, "a rebalance")
    finally:
        over.set()
        for thread in threads:
            thread.join()
        second.stop()
    assert seen <= {200, 202, 409, 500, 503}
    assert codes <= {"connect_busy", "connect_failed", "connect_unreachable", "connect_resting"}
    until(lambda: api.get("connectors").status_code == 200, 60, "a settled group")


def test_connect_killed_and_back(api: httpx.Client, stack: Stack, quiet: str) -> None:
    stack.kill("connect")
    codes = {api.get("connectors").json()["code"] for _ in range(8)}
    assert codes <= {"connect_unreachable", "connect_resting"}
    resting = api.get("connectors")
    assert (resting.status_code, resting.json()["code"]) == (503, "connect_resting")
    assert resting.headers["retry-after"]
    assert resting.elapsed.total_seconds() < 1
    stack.restart("connect")
    until(lambda: api.get("connectors").status_code == 200, 60, "Connect again")
    assert state(api, quiet) == "STOPPED"


def test_a_pipelines_own_connector_is_left_alone(api: httpx.Client, stack: Stack, quiet: str) -> None:
    from headrace.spec.models import ConnectionSpec, PipelineSpec
    from headrace.store import Store

    store = Store(stack.settings)
    for name in ("a", "b"):
        data = {"engine": "postgres", "host": "h", "database": name, "user": "u", "password": "p"}
        store.put_connection(name, ConnectionSpec.model_validate(data))
    store.put_pipeline("owner", PipelineSpec(source="a", target="b"))
    store.set_generation("owner", {"id": "1", "connector": quiet, "prefix": "x"})
    try:
        assert api.get(f"connectors/{quiet}").json()["pipeline"] == "owner"
        for method, path in (("PUT", "stop"), ("PUT", "pause"), ("DELETE", "offsets"), ("DELETE", "")):
            answer = api.request(method, f"connectors/{quiet}/{path}".rstrip("/"))
            assert (answer.status_code, answer.json()["code"]) == (409, "owned_by_pipeline")
        assert api.put(f"connectors/{quiet}/stop", params={"force": "true"}).status_code == 202
    finally:
        store.remove_pipeline("owner")
        store.close()
