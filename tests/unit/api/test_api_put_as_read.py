"""What GET answered may be PUT back, as it is or with what can be changed changed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import BOTH, Running
from test_api import CONNECTION, problem

from headrace.secrecy import MASK
from headrace.spec.models import PipelineSpec

pytestmark = BOTH


def test_a_connection_as_it_was_read(api: httpx.Client) -> None:
    api.post("connections", json={"name": "c", **CONNECTION, "schema": "s", "connection_type": "source"})
    read = api.get("connections/c").json()
    assert read["password"] == MASK
    same = api.put("connections/c", json=read)
    assert (same.status_code, same.json()) == (200, read)
    changed = api.put(f"connections/{read['id']}", json={**read, "database": "other"}).json()
    assert (changed["database"], changed["version"], changed["schema"]) == ("other", read["version"] + 1, "s")
    # Stale, but of what changes by itself.
    assert api.put("connections/c", json=read).json()["database"] == read["database"]


def test_a_secret_shown_as_its_reference_stays(running: Running, api: httpx.Client) -> None:
    shown = {"password": "${env:PG}"}
    given = {**shown, "host": "${env:HOST}"}
    api.post("connections", json={"name": "c", **CONNECTION, "references": given})
    read = api.get("connections/c").json()
    assert (read["password"], read["host"]) == ("${env:PG}", "h")
    assert api.put("connections/c", json=read).json() == read
    assert api.put("connections/c", json={**read, "database": "other"}).json()["database"] == "other"
    problem(api.put("connections/c", json={**read, "port": 7}), 422, "secret_needed")
    assert api.put("connections/c", json={**read, "schema": "sales"}).json()["schema"] == "sales"
    kept = running.store.connection("c")
    assert (kept.spec.password.get_secret_value(), kept.spec.host) == ("hunter2", "h")
    assert kept.references == shown
    problem(api.put("connections/c", json={**read, "password": "${env:OTHER}"}), 422, "unresolved_secret")


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"id": "7"}, {"is_active": False}, {"created_at": "2020-01-01T00:00:00Z"}]
)
def test_what_a_connection_keeps(api: httpx.Client, change: dict[str, Any]) -> None:
    api.post("connections", json={"name": "c", **CONNECTION})
    read = api.get("connections/c").json()
    said = problem(api.put("connections/c", json={**read, **change}), 422, "read_only")
    assert said["context"]["fields"] == list(change)
    problem(api.put("connections/c", json={**read, "unheard": 1}), 422, "invalid_spec")


def test_a_pipeline_as_it_was_read(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    read = api.get("pipelines/p").json()
    same = api.put("pipelines/p", json=read)
    assert (same.status_code, same.json()) == (200, read), same.text
    running.store.set_status("p", "stopped")
    spec = {**read["spec"], "exclude": ["public.sessions"]}
    changed = api.put("pipelines/p", json={**read, "spec": spec}).json()
    assert (changed["spec"], changed["spec_version"]) == (spec, read["spec_version"] + 1)
    short = {"name": "p", "source": "a", "target": "b", "id": read["id"], "enable_full_load": True}
    assert api.put("pipelines/p", json=short).json()["spec"] == read["spec"]


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"id": "7"}, {"source": "b"}, {"mode": "cdc_only"}, {"auto_create_target": False}],
)
def test_what_a_pipeline_keeps(api: httpx.Client, pipeline: PipelineSpec, change: dict[str, Any]) -> None:
    read = api.get("pipelines/p").json()
    said = problem(api.put("pipelines/p", json={**read, **change}), 422, "read_only")
    assert said["context"]["fields"] == list(change)
    problem(api.put("pipelines/p", json={**read, "unheard": 1}), 422, "invalid_spec")
