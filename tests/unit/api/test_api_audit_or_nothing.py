"""What cannot be written into the audit is not done at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import people
import pytest
from api_server import BOTH, Running
from sqlalchemy import MetaData, create_engine, text

from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.records import TableState

pytestmark = BOTH
JSON = dict[str, Any]
CONNECTION = {"engine": "postgres", "host": "h", "database": "d", "user": "u", "password": "hunter2"}
RULE = {"name": "r", "metric": "lag_seconds", "condition": "gt", "threshold": 1, "severity": "warning"}
CHANNEL = {"name": "ch", "kind": "in_app"}
# Life goes on beside it: whoever asks again, who was here, what runs.
_OWN_LIFE = {"idempotency_keys", "beats"}
_LIVING = {"last_used_at", "last_login_at", "seen_at"}


def everything(store: Store) -> dict[str, list[Any]]:
    """Every row of every table, but for what changes by itself."""
    found: dict[str, list[Any]] = {}
    engine = create_engine(store._engine.url)
    try:
        with engine.connect() as connection:
            meta = MetaData()
            meta.reflect(connection)
            for table in meta.sorted_tables:
                if table.name not in _OWN_LIFE:
                    columns = [c for c in table.columns if c.name not in _LIVING]
                    rows = connection.execute(table.select().with_only_columns(*columns))
                    found[table.name] = sorted(map(repr, rows))
    finally:
        engine.dispose()
    return found


@contextmanager
def without_audit(store: Store) -> Iterator[None]:
    """The table of the audit is away."""
    with store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_logs RENAME TO audit_away"))
    try:
        yield
    finally:
        with store._engine.begin() as connection:
            connection.execute(text("ALTER TABLE audit_away RENAME TO audit_logs"))


@pytest.fixture
def deeds(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> list[tuple[str, str, JSON | None]]:
    """Everything that changes what is stored here, at something that is there."""
    running.store.put_table("p", TableState(TableName("public", "users"), TableName("public", "users")))
    running.store.put_pipeline("running", PipelineSpec(source="b", target="a"))
    running.store.put_table("running", TableState(TableName("public", "x"), TableName("public", "x")))
    running.store.set_generation("running", {"id": "g", "prefix": "headrace.r", "connector": "headrace-r"})
    running.store.set_desired("running", "running")
    letter = running.store.add_dead_letter(
        "p", TableName("public", "users"), topic="t", offset=1, key=None, cause="c", message="m", event=None
    )
    made = api.post("connections", json={"name": "c", **CONNECTION})
    rule, channel = api.post("alerts/rules", json=RULE), api.post("alerts/channels", json=CHANNEL)
    for answer in (made, rule, channel):
        assert answer.status_code == 201, answer.text
    alert = running.store.raise_alert("a")
    people.add(api, "ann", "operator")
    ann = "users/ann@example.org"
    return [
        ("POST", "connections", {"name": "d", **CONNECTION}),
        ("PUT", "connections/c", {**CONNECTION, "host": "x"}),
        ("DELETE", "connections/c", None),
        ("POST", "pipelines", {"name": "q", "source": "a", "target": "b", "start": False}),
        (
            "POST",
            "pipelines",
            {
                "name": "q",
                "source": CONNECTION,
                "target": {**CONNECTION, "database": "other"},
                "start": False,
            },
        ),
        (
            "POST",
            "apply",
            {
                "connections": {"e": CONNECTION, "f": {**CONNECTION, "database": "f"}},
                "pipelines": {"q": {"source": "e", "target": "f"}},
                "start": False,
            },
        ),
        ("PUT", "pipelines/p", {"source": "a", "target": "b", "tables": ["public.*"]}),
        ("DELETE", "pipelines/p", None),
        ("POST", "pipelines/running/pause", None),
        ("POST", "pipelines/running/stop", None),
        ("POST", "pipelines/running/verify", None),
        ("POST", "pipelines/running/tables/public.x/resync", None),
        ("POST", "pipelines/p/dead-letters", {"action": "discard", "ids": [letter]}),
        ("POST", "alerts/rules", {**RULE, "name": "s"}),
        ("PUT", "alerts/rules/r", {**RULE, "threshold": 2}),
        ("DELETE", "alerts/rules/r", None),
        ("POST", "alerts/channels", {**CHANNEL, "name": "di"}),
        ("PUT", "alerts/channels/ch", {**CHANNEL, "enabled": False}),
        ("DELETE", "alerts/channels/ch", None),
        ("POST", f"alerts/history/{alert}/acknowledge", None),
        ("POST", f"alerts/history/{alert}/resolve", None),
        ("POST", "users", {"email": "bob@example.org", "password": people.PASSWORD}),
        ("PUT", ann, {"role": "viewer"}),
        ("POST", f"{ann}/unlock", None),
        ("POST", f"{ann}/logout", None),
        ("DELETE", ann, None),
    ]


def test_nothing_changes_without_its_audit(
    running: Running, api: httpx.Client, deeds: list[tuple[str, str, JSON | None]]
) -> None:
    before = everything(running.store)
    with without_audit(running.store):
        for method, path, body in deeds:
            answer = api.request(method, path, json=body)
            assert answer.status_code == 503, (method, path, answer.text)
            assert answer.json()["code"] == "metadata_unavailable", (method, path, answer.text)
    after = everything(running.store)
    assert {name for name in before if before[name] != after[name]} == set()
    # And with it each of them is done.
    for method, path, body in deeds:
        if method != "DELETE":
            continue
        assert api.request(method, path, json=body).is_success, (method, path)


def test_nobody_enters_without_the_audit(running: Running, api: httpx.Client) -> None:
    people.add(api, "ann", "operator")
    before = everything(running.store)
    with without_audit(running.store), people.client(running) as nobody:
        answer = nobody.post("auth/login", json={"email": "ann@example.org", "password": people.PASSWORD})
        assert answer.status_code == 503, answer.text
    assert everything(running.store) == before
