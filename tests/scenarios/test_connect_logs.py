"""What Kafka Connect and Debezium say of a pipeline's connector stands in the pipeline's log, next to our own lines."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg

from headrace.secrecy import MASK
from support.lab import Lab, Pair, until

SECRET = "planted-secret-4711"
TABLE = "CREATE TABLE t (id int PRIMARY KEY)"
# The source's server repeats the password in what it says to Debezium alone, as soon as that logs in again.
BETRAYAL = f"""
CREATE FUNCTION betray() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('application_name') LIKE 'Debezium%' THEN
    RAISE EXCEPTION 'the password {SECRET} is no good';
  END IF;
END $$;
CREATE EVENT TRIGGER betrayal ON login EXECUTE FUNCTION betray();
"""


def said(pair: Pair, **asked: str) -> list[dict[str, Any]]:
    """Lines of the pipeline's log."""
    asked = {"limit": "1000", **asked}
    answer = pair.lab.api("GET", f"/pipelines/{pair.name}/logs?{httpx.QueryParams(asked)}")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def betrayed(line: dict[str, Any]) -> bool:
    return f"the password {MASK} is no good" in line["context"].get("stack", "")


def connector(pair: Pair) -> str:
    found = pair.lab.api("GET", "/connectors").json()["items"]
    return next(str(c["name"]) for c in found if c["pipeline"] == pair.name)


def test_connects_own_errors_are_seen(lab: Lab, pair: Pair) -> None:
    with psycopg.connect(lab.source.conninfo, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE capturer SUPERUSER LOGIN PASSWORD '{SECRET}'".encode())
    with lab.pair(TABLE) as other:
        pair.src.execute(TABLE)
        pair.apply(source={"user": "capturer", "password": SECRET})
        other.apply()
        pair.src.execute(BETRAYAL.encode())
        pair.src.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()"
        )
        until(lambda: any(map(betrayed, said(pair))), 60, "the refusal")
        errors = said(pair, level="error", component="connect")
        failure = next(e for e in errors if "Producer failure" in e["message"])
        assert failure["context"]["logger"] == "io.debezium.pipeline.ErrorHandler"
        assert "\tat io.debezium." in failure["context"]["stack"]
        raw = lab.stack.settings.connect_log
        assert raw is not None
        assert SECRET in raw.read_text()
        for each in (pair, other):
            assert SECRET not in json.dumps(said(each))
            connects = said(each, component="connect")
            assert {one["context"]["connector"] for one in connects} == {connector(each)}
        others = json.dumps(said(other))
        assert "is no good" not in others
        assert pair.name not in others
        pair.src.execute("DROP EVENT TRIGGER betrayal")
        pair.cli("delete", pair.name)
    pair.src.execute("REASSIGN OWNED BY capturer TO postgres")
    pair.src.execute("DROP ROLE capturer")


def test_a_call_is_followed_to_the_connector(lab: Lab, pair: Pair) -> None:
    pair.src.execute(TABLE)
    pair.apply()
    assert [e for e in said(pair) if e["message"] == f"the connector {connector(pair)} is set up"]
    call(lab, f"/pipelines/{pair.name}/stop", "trace-stop")
    pair.wait("stopped")
    until(lambda: messages(pair, "trace-stop", "Stopping task"), 30, "the end of the task")
    call(lab, f"/pipelines/{pair.name}/start", "trace-start")
    pair.wait("incremental")
    until(lambda: messages(pair, "trace-start", "Creating task"), 30, "the task")
    served = [e for e in written(lab, "server") if e.get("request_id") == "trace-start"]
    assert [(e["pipeline"], e["status"]) for e in served] == [(pair.name, 202)]
    asked = [e for e in written(lab, "worker") if e.get("pipeline") == pair.name]
    path = f"asked Kafka Connect: PUT /connectors/{connector(pair)}"
    assert (f"{path}/stop", "trace-stop") in [(e["message"], e.get("request_id")) for e in asked]
    assert (f"{path}/resume", "trace-start") in [(e["message"], e.get("request_id")) for e in asked]


def call(lab: Lab, path: str, request_id: str) -> None:
    headers = {"Authorization": f"Bearer {lab.token}", "x-request-id": request_id}
    answer = httpx.post(f"http://127.0.0.1:{lab.port}/api/v1{path}", headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text


def written(lab: Lab, name: str) -> list[dict[str, Any]]:
    """The JSON lines of a process of ours."""
    text = (lab.stack.settings.data / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def messages(pair: Pair, request_id: str, beginning: str) -> list[str]:
    found = said(pair, request_id=request_id, component="connect")
    return [e["message"] for e in found if e["message"].startswith(beginning)]
