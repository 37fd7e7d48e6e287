"""Names and words that calls may use, and those that they may not."""

from __future__ import annotations

from typing import Any

import httpx
import people
import pytest
from api_server import Running
from test_api import CONNECTION, problem

from headrace.api.app import bare_app
from headrace.cli.locate import path_part
from headrace.control.connectors import Connectors
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store.records import TableState


@pytest.mark.parametrize("base", ["api/v1", "api"])
@pytest.mark.parametrize("name", ["a/b", "a/resync", "b/", "50%", "ä b"])
def test_a_table_may_have_any_name(
    running: Running, api: httpx.Client, pipeline: PipelineSpec, base: str, name: str
) -> None:
    odd = TableName("public", name)
    running.store.set_desired("p", "running")
    running.store.put_table("p", TableState(odd, odd))
    for deed in ("resync", "verify"):
        answer = api.post(f"{running.url}/{base}/pipelines/p/tables/{path_part(str(odd))}/{deed}")
        assert answer.status_code == 202, answer.text
        assert answer.json()["args"]["table"] == str(odd)


def test_two_tables_in_one_call(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    users = TableName("public", "users")
    running.store.set_desired("p", "running")
    running.store.put_table("p", TableState(users, users))
    where = "pipelines/p/tables/public.users/verify"
    problem(api.post(where, json={"table": "public.orders"}), 422, "two_tables")
    assert api.post(where, json={"table": '"public"."users"'}).status_code == 202


def test_connections_that_may_be_both(api: httpx.Client) -> None:
    for kind in ("source", "target", "both"):
        api.post("connections", json={"name": kind, **CONNECTION, "connection_type": kind})
    found = api.get("connections", params={"connection_type": "both"}).json()
    assert [c["name"] for c in found["items"]] == ["both"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("", (True, False)),
        ("include_tasks=false&only_failed=true", (False, True)),
        ("includeTasks=false&onlyFailed=true", (False, True)),
    ],
)
def test_a_restart_by_either_name(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, asked: str, told: tuple[bool, bool]
) -> None:
    seen: list[tuple[bool, bool]] = []

    def restart(_self: Connectors, name: str, tasks: bool, failed: bool) -> dict[str, Any]:
        seen.append((tasks, failed))
        state = {"state": "RUNNING", "worker_id": None, "trace": None}
        return {"name": name, "connector": state, "tasks": [], "type": "source"}

    monkeypatch.setattr(Connectors, "restart", restart)
    assert api.post(f"connectors/c/restart?{asked}").status_code == 202
    assert seen == [told]


@pytest.mark.parametrize("path", ["pipelines", "monitoring/pipelines"])
def test_pipelines_by_status(api: httpx.Client, pipeline: PipelineSpec, path: str) -> None:
    assert [p["name"] for p in api.get(path, params={"status": "draft"}).json()["items"]] == ["p"]
    for word in ("zzz", "deleted"):
        problem(api.get(path, params={"status": word}), 422, "invalid_spec")


@pytest.mark.parametrize("word", ["role", "role_name"])
def test_users_by_role(api: httpx.Client, word: str) -> None:
    for role in ("viewer", "admin", "operator"):
        people.add(api, f"the-{role}", role)
    for sort, wanted in (
        (word, ["admin", "operator", "viewer"]),
        (f"-{word}", ["viewer", "operator", "admin"]),
    ):
        found = api.get("users", params={"sort": sort, "q": "the-"}).json()["items"]
        assert [u["role"] for u in found] == wanted


def test_the_document_says_what_a_filter_and_a_file_are() -> None:
    paths = bare_app().openapi()["paths"]
    times = [
        p["description"]
        for item in paths.values()
        for operation in item.values()
        for p in operation["parameters"]
        if p.get("name") in ("start_time", "end_time")
    ]
    assert len(times) >= 6
    assert all("UTC unless it has a zone" in said for said in times)
    export = paths["/api/v1/audit/export"]["get"]["responses"]["200"]["content"]
    assert set(export) == {"application/x-ndjson", "text/csv"}
