"""Metadata of every older shape, with rows in every table, is brought to the newest one and still read."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from headrace.settings import Settings
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.database import connect, reading, writing
from headrace.store.secrets import cipher
from headrace.store.shape import revision_of, revisions, upgrade

Rows = dict[str, list[dict[str, Any]]]
AT = datetime(2026, 3, 29, 2, 30, 0, 5, UTC)
ODD = 'odd: \\ " \x01 ä 漢 🦆'
USERS = TableName("public", 'Weird "users" ä')
OURS = {"pipeline_id": "p1"}
TIMES = {"created_at": AT, "updated_at": AT}


def first(sealed: str) -> Rows:
    """Rows of revision 0001."""
    connection = {
        "database_type": "postgres", "host": "db", "port": 5432, "username": "u", "secrets": sealed,
        "secret_references": {"password": "${env:PW}"}, "additional_config": {"tls": "require"},
        "is_active": True, **TIMES,
    }  # fmt: skip
    pipeline = {
        "source_connection_id": "c1", "target_connection_id": "c2", "mode": "initial_load_then_cdc",
        "spec": PipelineSpec(source="a", target="b").model_dump(mode="json"), "spec_version": 3,
        "applied_version": 2, "desired": "running", "flags": {"resync": ["x"]}, "status": "running",
        "phase": "seeding", "error": {"code": "c", "message": ODD}, "generation": {"connector": "g"},
        "lag": {"events": 2**40}, **TIMES,
    }  # fmt: skip
    place = {"source_schema": USERS.schema, "source_name": USERS.name}
    return {
        "connections": [
            {"id": "c1", "name": "a", "database": ODD, **connection},
            {"id": "c2", "name": "b", "database": "x", **connection, "last_tested_at": AT},
            {"id": "c0", "name": "a", "database": "x", **connection, "secrets": "", "deleted_at": AT},
        ],
        "pipelines": [
            {"id": "p1", "name": "p", **pipeline},
            {"id": "p0", "name": "p", **pipeline, "user_id": "u", "deleted_at": AT},
        ],
        "pipeline_tables": [
            {
                **OURS, **place, "target_schema": "crm", "target_name": "users", "state": "live",
                "rows_loaded": 2**40, "rows_total": -1, "cut": {"lsn": 1}, "detail": {"k": [1]},
                "certificate": {"equal": True}, "updated_at": AT,
            }
        ],
        "pipeline_connectors": [
            {
                **OURS, "name": "g", "type": "source", "connector_class": "x.Y", "config": {"a": ODD},
                "status": "RUNNING", "tasks_max": 1, **TIMES,
            }
        ],
        "pipeline_runs": [
            {
                "id": "r1", **OURS, "run_type": "load", "status": "completed", "started_at": AT,
                "completed_at": AT, "rows_processed": 2**40, "errors_count": 1, "error_message": ODD,
                "run_metadata": {"tables": 3},
            }
        ],
        "pipeline_metrics": [
            {
                **OURS, "timestamp": AT, "throughput_events_per_sec": 0.1 + 0.2, "lag_seconds": n,
                "error_count": 0, "bytes_processed": 2**62, "source_offset": ODD,
                "connector_status": {"state": ODD},
            }
            for n in range(3)
        ],
        "pipeline_logs": [
            {
                **OURS, "ts": AT, "level": "info", "component": "t", "message": f"{ODD} {n}",
                "context": {"n": n},
            }
            for n in range(3)
        ],
        "connection_tests": [
            {
                "connection_id": "c1", "test_status": "failed", "response_time_ms": 12.25,
                "error_message": ODD, "tested_at": AT,
            }
        ],
        "audit_logs": [
            {
                "entity_type": "pipeline", "entity_id": "p1", "action": "updated", "user_id": "u",
                "old_values": {"a": None}, "new_values": {"a": ODD}, "timestamp": AT,
            }
        ],
        "dead_letters": [
            {
                "id": "d1", **OURS, **place, "topic": "t", "event_offset": 2**40, "event_key": [1],
                "cause": "constraint", "message": ODD, "event": {"op": "c"}, "status": "waiting", **TIMES,
            }
        ],
        "requests": [
            {
                "id": "q1", **OURS, "kind": "verify", "args": {"table": None}, "status": "done",
                "result": [1], "created_at": AT, "finished_at": AT,
            },
            {
                "id": "q2", **OURS, "kind": "resync", "args": {}, "status": "queued", "created_at": AT,
            },
        ],
        "leases": [{"name": "p", "owner": "w", "expires_at": AT}],
        "beats": [{"component": "worker", "owner": "w", "pid": 4711, "url": "http://x", "seen_at": AT}],
    }  # fmt: skip


def second(sealed: str) -> Rows:
    """Rows of revision 0002."""
    user = {
        "full_name": ODD, "hashed_password": "$hash$", "role_name": "operator", "failed_logins": 2, "version": 3,
        "last_login_at": AT, **TIMES,
    }  # fmt: skip
    until = AT.replace(year=2200)
    session = {
        "user_id": "u1",
        "refresh_hash": "r",
        "created_at": AT,
        "last_used_at": AT,
        "expires_at": until,
    }
    return {
        **first(sealed),
        "users": [
            {"id": "u1", "email": "ann@example.org", **user},
            {"id": "u0", "email": "ann@example.org", **user, "deleted_at": AT, "is_active": False},
            {"id": "u2", "email": "f@example.org", **user, "issuer": "https://i", "subject": "s"},
        ],
        "sessions": [
            {"id": "s1", **session, "previous_hash": "q", "rotated_at": AT, "user_agent": ODD},
            {"id": "s2", **session, "revoked_at": AT},
        ],
        "api_tokens": [
            {
                "id": "t1", "user_id": "u1", "name": ODD, "token_hash": "h", "scopes": ["*:read"],
                "created_at": AT, "expires_at": until,
            }
        ],
        "idempotency_keys": [
            {"owner": "u1", "key": "k", "fingerprint": "f", "status": 201, "answer": sealed, "created_at": AT}
        ],
        "schema_cache": [{"connection_id": "c1", "what": "tables", "value": [ODD], "fetched_at": until}],
        "events": [
            {"ts": AT, "kind": "logs", "pipeline": "p", "data": {"message": f"{n}"}} for n in range(2)
        ],
        "log_places": [{"name": "connect", "identity": "i", "position": 2**40}],
        "alert_rules": [
            {
                "id": "a1", "name": "lag", "metric": "lag_seconds", "condition": "gt", "threshold": 0.5,
                "duration_seconds": 60, "severity": "warning", "channels": ["ops"], "version": 2, **TIMES,
            }
        ],
        "alert_channels": [
            {"id": "h1", "name": "ops", "kind": "webhook", "config": {"x": ODD}, "secrets": sealed, **TIMES}
        ],
        "alert_history": [
            {
                "id": "f1", "rule_id": "a1", **OURS, "status": "resolved", "message": ODD, "triggered_at": AT,
                "alert_metadata": {"n": 1},
            }
        ],
    }  # fmt: skip


# A shape that gets a successor has rows here, which stay as they are.
ROWS = {"0001": first, "0002": second}


def built(settings: Settings, revision: str) -> Rows:
    """Metadata of a revision with rows in every table, by plain SQL; as it reads them."""
    engine = connect(settings.metadata_url)
    with writing(engine) as connection:
        upgrade(connection, revision)
        rows = ROWS[revision](cipher(settings.key_file).seal({"password": "hunter2"}))
        assert rows.keys() == set(inspect(connection).get_table_names()) - {"alembic_version"}
        if settings.database_url:
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        for table, lines in rows.items():
            for line in lines:
                names, values = ", ".join(f'"{name}"' for name in line), ", ".join(f":{n}" for n in line)
                plain = {name: _plain(value) for name, value in line.items()}
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), plain)
        found = content(connection, {table: list(columns(connection, table)) for table in rows})
    engine.dispose()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ").removesuffix("+00:00")
    return json.dumps(value) if isinstance(value, dict | list) else value


def columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns(table)]


def content(connection: Connection, shape: dict[str, list[str]]) -> Rows:
    """These columns of these tables, as the driver gives them."""
    found: Rows = {}
    for table, names in shape.items():
        words = ", ".join(f'"{name}"' for name in names)
        query = text(f"SELECT {words} FROM {table} ORDER BY 1")
        found[table] = [dict(row) for row in connection.execute(query).mappings()]
    return found


def kept(settings: Settings, before: Rows) -> Rows:
    """What is now in the columns that there were."""
    engine = connect(settings.metadata_url)
    with reading(engine) as connection:
        assert revision_of(connection) == revisions()[-1]
        found = content(connection, {table: list(lines[0]) for table, lines in before.items()})
    engine.dispose()
    return found


def test_every_older_shape_has_its_rows_here() -> None:
    assert ROWS.keys() >= set(revisions()[:-1])


@pytest.mark.parametrize("revision", ROWS)
def test_all_rows_are_kept_and_read(unmigrated: Settings, revision: str) -> None:
    before = built(unmigrated, revision)
    store = Store(unmigrated)
    try:
        assert kept(unmigrated, before) == before
        read(store)
        if revision == "0001":
            assert store.events(0) == []
            assert not store.any_user()
        else:
            read_control_plane(store)
        written(store)
    finally:
        store.close()


def read(store: Store) -> None:
    """The oldest rows, through the store."""
    a, b = store.connection("a"), store.connection("b")
    assert (a.id, a.name, a.spec.database, a.version) == ("c1", "a", ODD, 1)
    assert a.spec.password is not None
    assert a.spec.password.get_secret_value() == "hunter2"
    assert (a.references, a.created_at, b.last_tested_at) == ({"password": "${env:PW}"}, AT, AT)
    p = store.pipeline("p")
    assert (p.id, p.spec_version, p.applied_version, p.phase) == ("p1", 3, 2, "seeding")
    assert (p.spec.source, p.lag, p.generation) == ("a", {"events": 2**40}, {"connector": "g"})
    assert store.to_run() == ["p"]
    (table,) = store.tables("p")
    assert (table.source, table.rows_loaded, table.detail) == (USERS, 2**40, {"k": [1]})
    assert store.certificate("p")[0]["equal"] is True
    assert [c.config for c in store.pipeline_connectors("p")] == [{"a": ODD}]
    (run,) = store.runs("p")[0]
    assert (run.rows_processed, run.metadata, run.completed_at) == (2**40, {"tables": 3}, AT)
    assert sorted((m.lag_seconds, m.resolution, m.events_processed) for m in store.metrics("p")) == [
        (n, 10, 0) for n in range(3)
    ]
    assert [line.message for line in store.logs("p")] == [f"{ODD} {n}" for n in range(3)]
    assert [t.error_message for t in store.connection_tests("a")[0]] == [ODD]
    (audit,) = store.audits()[0]
    assert (audit.old, audit.new, audit.ts, audit.address) == ({"a": None}, {"a": ODD}, AT, None)
    (letter,) = store.dead_letters("p")[0]
    assert (letter.offset, letter.key, letter.event) == (2**40, [1], {"op": "c"})
    assert (store.request("q1").result, store.request("q1").finished_at) == ([1], AT)
    assert (store.holder("p"), store.beats("worker")[0].pid) == ("w", 4711)


def read_control_plane(store: Store) -> None:
    """What came with 0002, through the store."""
    ann, foreign = store.user("ann@example.org"), store.user("f@example.org")
    assert (ann.id, ann.full_name, ann.role, ann.version, ann.last_login_at) == ("u1", ODD, "operator", 3, AT)
    assert store.foreign_user("https://i", "s", "", "", None, "admin") == (foreign, foreign)
    assert (store.session_user("s1", "u1"), store.session_user("s2", "u1")) == (ann, None)
    token = store.token_and_user("t1")
    assert token is not None
    assert (token[0].name, token[0].scopes, token[1]) == (ODD, ["*:read"], ann)
    assert store.cached("c1", "tables", 60) == ([ODD], AT.replace(year=2200))
    assert [(e.id, e.data) for e in store.events(0)] == [(1, {"message": "0"}), (2, {"message": "1"})]
    assert (store.alert_rule("lag").channels, store.alert_rule("lag").version) == (["ops"], 2)
    assert store.alert_channel("ops").secrets == {"password": "hunter2"}
    assert [a.message for a in store.alerts()[0]] == [ODD]


def written(store: Store) -> None:
    """What was there can be changed, and new rows get numbers of their own."""
    taken = store.take_request("p")
    assert taken is not None
    assert taken.id == "q2"
    store.log("p", "info", "t", "new")
    assert [line.id for line in store.logs("p")] == [1, 2, 3, 4]
    store.put_connection("a", store.connection("a").spec.model_copy(update={"host": "x"}), expected=1)
    assert store.connection("a").version == 2
    store.add_metrics("p", lag_events=5)
    assert store.events(0)[-1].data["message"] == "new"
    none_yet = not store.any_user()
    assert (store.add_first_user("admin@example.org", "$hash$") is not None) == none_yet


PROGRAM = """
import sys
from pathlib import Path
from headrace.settings import Settings
from headrace.store import Store
print("ready", flush=True)
sys.stdin.readline()
Store(Settings(Path(sys.argv[1]), database_url=sys.argv[2])).close()
"""


@pytest.mark.parametrize("revision", [None, "0001"])
def test_processes_that_migrate_at_once_do_it_once(unmigrated: Settings, revision: str | None) -> None:
    before = built(unmigrated, revision) if revision else {}
    words = [sys.executable, "-c", PROGRAM, str(unmigrated.data), unmigrated.database_url]
    with ExitStack() as held:
        pipes: dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes = [held.enter_context(subprocess.Popen(words, text=True, **pipes)) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0, 0]
    assert kept(unmigrated, before) == before
