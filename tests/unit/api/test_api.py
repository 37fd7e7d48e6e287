from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import BOTH, Running
from cryptography.fernet import Fernet
from sqlalchemy import update

from headrace.secrecy import MASK
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store.records import TableState
from headrace.store.schema import connections

pytestmark = BOTH
CONNECTION = {"engine": "postgres", "host": "h", "database": "d", "user": "u", "password": "hunter2"}
USERS = TableName("public", "users")


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, checked for what RFC 9457 and the contract want."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "kind", "message", "guidance", "context"} == set(
        found
    )
    assert (found["status"], found["code"]) == (status, code)
    return found


def test_nothing_but_life_is_told_without_the_token(running: Running) -> None:
    for token in (None, "Bearer wrong", "Basic x", "Bearer", "Bearer \xe9"):
        headers = {"authorization": token.encode("latin-1")} if token else {}
        for path in ("status", "pipelines", "health", "connections"):
            answer = httpx.get(f"{running.url}/api/v1/{path}", headers=headers)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{running.url}/api/v1/health/live").json() == {"status": "ok"}
    told = problem(httpx.get(f"{running.url}/api/v1/health/ready"), 503, "not_ready")
    assert {frozenset(part) for part in told["context"]["components"]} == {frozenset({"name", "state"})}


def test_other_names_are_refused(running: Running, api: httpx.Client) -> None:
    problem(api.get("status", headers={"host": "evil.example"}), 403, "wrong_host")
    assert httpx.get(f"{running.url}/", headers={"host": "evil.example:8000"}).status_code == 403
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert api.get("status", headers={"host": host}).status_code == 200


def test_the_page_holds_no_secret_and_runs_only_its_own_script(running: Running) -> None:
    answer = httpx.get(running.url)
    nonce = answer.headers["content-security-policy"].split("script-src 'nonce-")[1].split("'")[0]
    assert f'<script nonce="{nonce}">' in answer.text
    assert running.token not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_status_in_the_form_of_the_contract(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    running.store.beat("worker", "w", 4711)
    found = api.get("status").json()
    assert set(found) == {"ready", "components", "pipelines"}
    parts = {c["name"]: c for c in found["components"]}
    assert list(parts) == ["kafka", "connect", "server", "worker"]
    assert all(set(c) == {"name", "pid", "state", "url"} for c in parts.values())
    assert (parts["kafka"]["state"], parts["worker"]["state"], parts["worker"]["pid"]) == (
        "unreachable",
        "running",
        4711,
    )
    assert parts["server"]["url"] == running.url
    assert (found["ready"], found["pipelines"]) == (
        False,
        [{"name": "p", "status": "draft", "phase": None}],
    )
    refused = problem(api.get("health/ready"), 503, "not_ready")
    assert "kafka, connect" in refused["message"]
    assert api.get("health").json()["status"] == "degraded"


def test_pipeline_status_in_the_form_of_the_contract(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    error = {"code": "c", "kind": "conflict", "message": "m", "guidance": "g", "context": {"x": 1}}
    running.store.put_table("p", TableState(USERS, USERS, "loading", 5, -1, {"snapshot": "1:2:"}, error))
    running.store.set_status("p", "running", "seeding", error)
    running.store.set_lag("p", {"events": 2, "seconds": 0.5, "bytes": 10})
    short = {"code": "c", "message": "m", "guidance": "g"}
    table = {
        "name": "public.users",
        "state": "loading",
        "rows_loaded": 5,
        "rows_total": None,
        "cut": {"snapshot": "1:2:"},
        "error": short,
    }
    expected = {
        "name": "p",
        "status": "running",
        "phase": "seeding",
        "lag": {"events": 2, "seconds": 0.5, "bytes": 10},
        "tables": [table],
        "error": short,
    }
    assert api.get("pipelines/p/status").json() == expected
    assert httpx.get(f"{running.url}/api/pipelines/p/status", headers=dict(api.headers)).json() == expected
    assert api.get("pipelines/p/tables").json()["items"] == [{**table, "target": "public.users"}]


def test_connections(running: Running, api: httpx.Client) -> None:
    made = api.post("connections", json={"name": "a", **CONNECTION})
    assert made.status_code == 201
    assert "hunter2" not in made.text
    problem(api.post("connections", json={"name": "a", **CONNECTION}), 409, "exists_already")
    id_ = made.json()["id"]
    changed = api.put(
        f"connections/{id_}", json={**CONNECTION, "host": "x", "references": {"password": "${env:P}"}}
    )
    assert (changed.json()["name"], changed.json()["host"]) == ("a", "x")
    assert changed.json()["password"] == "${env:P}"
    page = api.get("connections", params={"limit": 1}).json()
    assert (page["total"], len(page["items"])) == (1, 1)
    assert api.delete("connections/a").status_code == 204
    problem(api.get("connections/a"), 404, "no_such_connection")
    problem(api.put("connections/a", json=CONNECTION), 404, "no_such_connection")
    assert all("hunter2" not in str(a) for a in running.store.audits()[0])
    assert [a.action for a in running.store.audits()[0]] == ["deleted", "updated", "created"]


def test_a_connection_is_used_for_what_it_is(running: Running, api: httpx.Client) -> None:
    for name, kind in (("from", "source"), ("to", "target"), ("any", None)):
        body = {"name": name, **CONNECTION, "database": name} | ({"connection_type": kind} if kind else {})
        assert api.post("connections", json=body).json()["connection_type"] == (kind or "both")
    for side, names in (("source", ["any", "from"]), ("target", ["any", "to"])):
        found = api.get("connections", params={"connection_type": side}).json()
        assert ([c["name"] for c in found["items"]], found["total"]) == (names, 2)
    for source, target in (("to", "any"), ("any", "from")):
        answer = api.post("pipelines", json={"name": "x", "source": source, "target": target})
        problem(answer, 409, "wrong_side")
    assert api.post("pipelines", json={"name": "x", "source": "any", "target": "to"}).status_code == 201
    own = {**CONNECTION, "database": "any"}
    problem(api.put("connections/any", json={**own, "connection_type": "target"}), 409, "connection_in_use")
    changed = api.put("connections/any", json={**own, "connection_type": "source"})
    assert (changed.json()["connection_type"], changed.json()["version"]) == ("source", 2)
    # Left out, it stays.
    assert api.put("connections/any", json={**own, "host": "y"}).json()["connection_type"] == "source"
    audit = running.store.audits()[0][1]
    assert audit.old is not None
    assert audit.new is not None
    assert (audit.old["connection_type"], audit.new["connection_type"]) == ("both", "source")
    problem(api.put("connections/any", json={**own, "connection_type": "neither"}), 422, "invalid_spec")


def test_a_mask_sent_back_keeps_the_password(running: Running, api: httpx.Client) -> None:
    shown = api.post("connections", json={"name": "a", **CONNECTION}).json()
    changed = {**CONNECTION, "password": shown["password"], "database": "x"}
    assert api.put("connections/a", json=changed).json()["database"] == "x"
    assert running.store.connection("a").spec.password.get_secret_value() == "hunter2"
    without = {k: v for k, v in CONNECTION.items() if k != "password"}
    assert api.put("connections/a", json={**without, "database": "y"}).json()["password"] == MASK
    assert running.store.connection("a").spec.password.get_secret_value() == "hunter2"
    assert api.put("connections/a", json={**without, "password": ""}).json()["password"] == ""


def test_a_password_by_reference_stays_one_when_it_is_sent_back(running: Running, api: httpx.Client) -> None:
    reference = {"references": {"password": "${env:SHOP_PASSWORD}"}}
    shown = api.post("connections", json={"name": "a", **CONNECTION, **reference}).json()["password"]
    assert shown == "${env:SHOP_PASSWORD}"
    again = api.put("connections/a", json={**CONNECTION, "password": shown, "database": "x"})
    assert (again.status_code, again.json()["password"]) == (200, shown)
    assert running.store.connection("a").spec.password.get_secret_value() == "hunter2"
    other = {**CONNECTION, "password": "${env:OTHER}"}
    problem(api.put("connections/a", json=other), 422, "unresolved_secret")


def test_a_connection_whose_key_is_lost_is_entered_again(running: Running, api: httpx.Client) -> None:
    read = api.post("connections", json={"name": "a", **CONNECTION})
    sealed = Fernet(Fernet.generate_key()).encrypt(b'{"password": "hunter2"}').decode()
    with running.store._writing() as transaction:
        transaction.execute(update(connections).values(secrets=sealed))
    problem(api.post("connections/a/test"), 412, "secret_key")
    assert [c["password"] for c in api.get("connections").json()["items"]] == [MASK]
    shown = api.get("connections/a")
    assert (shown.json()["password"], shown.headers["etag"]) == (MASK, read.headers["etag"])
    # There is nothing that the mask could stand for.
    problem(api.put("connections/a", json={**CONNECTION, "password": MASK}), 412, "secret_key")
    again = api.put("connections/a", json=CONNECTION, headers={"if-match": read.headers["etag"]})
    assert again.status_code == 200, again.text
    assert running.store.connection("a").spec.password.get_secret_value() == "hunter2"


@pytest.mark.parametrize("path", ["pipelines", "audit", "users", "connections", "alerts/history"])
def test_no_offset_is_too_far(api: httpx.Client, path: str) -> None:
    assert api.get(path, params={"offset": 2**53}).json()["items"] == []
    problem(api.get(path, params={"offset": 2**64}), 422, "invalid_spec")


def test_testing_a_connection_that_leads_nowhere(api: httpx.Client, pipeline: PipelineSpec) -> None:
    tested = api.post("connections/a/test")
    assert (tested.status_code, tested.json()["ok"], tested.json()["version"]) == (200, False, None)
    assert tested.json()["error"]["code"] == "refused"
    (past,) = api.get("connections/a/tests").json()["items"]
    assert (past["test_status"], past["response_time_ms"] > 0) == ("failed", True)
    known = api.get("connections/a").json()
    assert known["last_test_status"] == "failed"
    problem(api.get("connections/a/tables"), 503, "refused")
    problem(api.delete("connections/a"), 409, "connection_in_use")
    # Nobody has tried where it leads from now on.
    moved = api.put("connections/a", json={**CONNECTION, "database": "elsewhere"}).json()
    assert (moved["last_test_status"], moved["last_tested_at"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"name": "x", "source": "a", "target": "b", "deletes": "soft"}, "deletes", "not_supported_yet"),
        ({"name": "x", "source": "a", "target": "b", "mood": 1}, "mood", "unknown_key"),
        ({"name": "X y", "source": "a", "target": "b"}, "name", "bad_name"),
        ({"name": "x", "source": "a"}, "target", "missing_key"),
        ({"name": "x", "source": "a", "target": "a"}, "target", "same_database"),
    ],
)
def test_malformed_pipelines(
    api: httpx.Client, pipeline: PipelineSpec, body: dict[str, Any], path: str, code: str
) -> None:
    found = problem(api.post("pipelines", json=body), 422, "invalid_spec")["context"]["problems"]
    assert [(p["path"], p["code"]) for p in found] == [(path, code)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"mode": "log"}, "full_load_and_cdc"),
        ({"mode": "log", "enable_full_load": False}, "cdc_only"),
        ({"mode": "batch"}, "full_load_only"),
        ({"enable_full_load": False}, "cdc_only"),
        # Said and not yet done: refused rather than left out.
        ({"mode": "batch", "frequency_minutes": 30}, "schedule"),
        ({"mode": "full_load_only", "frequency_minutes": 30}, "schedule"),
        ({"mode": "micro-batch"}, "apply.every"),
        ({"mode": "micro-batch", "frequency_minutes": 1}, "apply.every"),
        ({"frequency_minutes": 1}, "apply.every"),
    ],
)
def test_older_words(api: httpx.Client, pipeline: PipelineSpec, body: dict[str, Any], told: str) -> None:
    answer = api.post("pipelines", json={"name": "x", "source": "a", "target": "b", **body})
    if answer.status_code == 201:
        assert answer.json()["mode"] == told
        assert answer.json()["enable_full_load"] is (told != "cdc_only")
    else:
        found = problem(answer, 422, "invalid_spec")["context"]["problems"]
        assert [(p["path"], p["code"]) for p in found] == [(told, "not_supported_yet")]


@pytest.mark.parametrize("content", [b"{", b"[]", b"5", b"\xff"])
def test_bodies_that_are_none(api: httpx.Client, content: bytes) -> None:
    answer = api.post("pipelines", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["kind"] == "invalid"


def test_pipelines(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    target = running.store.connection("b").id
    made = api.post("pipelines", json={"name": "q", "source": "a", "target": target, "tables": ["public.*"]})
    assert made.status_code == 201, made.text
    assert (made.json()["target"], made.json()["status"]) == ("b", "draft")
    problem(api.post("pipelines", json={"name": "q", "source": "a", "target": "b"}), 409, "exists_already")
    changed = api.put("pipelines/q", json={"source": "a", "target": "b", "create_target": False})
    assert (changed.json()["spec_version"], changed.json()["spec"]["create_target"]) == (2, False)
    assert [p["name"] for p in api.get("pipelines").json()["items"]] == ["p", "q"]
    assert api.get("pipelines", params={"status": "running"}).json()["total"] == 0
    assert api.get("pipelines", params={"status": "seeding"}).json()["total"] == 0
    wrong = problem(api.get("pipelines", params={"status": "sleeping"}), 422, "invalid_spec")
    assert {"paused", "seeding"} <= set(wrong["context"]["problems"][0]["accepted"])
    assert api.delete("pipelines/q").json()["status"] == "deleted"
    problem(api.get("pipelines/q"), 404, "no_such_pipeline")


def test_inline_connections_are_stored_with_the_pipeline_or_not_at_all(
    running: Running, api: httpx.Client
) -> None:
    body = {"name": "q", "source": CONNECTION, "target": {**CONNECTION, "database": "e"}}
    problem(api.post("pipelines", json={**body, "target": "nope"}), 404, "no_such_connection")
    problem(api.post("pipelines", json={**body, "target": CONNECTION}), 422, "same_database")
    leaky = {**CONNECTION, "password": "${file:/etc/passwd}"}
    problem(api.post("pipelines", json={**body, "source": leaky}), 422, "unresolved_secret")
    assert running.store.connections() == ([], 0)
    made = api.post("pipelines", json=body)
    assert made.status_code == 201
    assert "hunter2" not in made.text
    assert [c.name for c in running.store.connections()[0]] == ["q-source", "q-target"]


def test_inline_connections_change_none_that_another_pipeline_uses(
    running: Running, api: httpx.Client
) -> None:
    first = {"name": "q", "source": CONNECTION, "target": {**CONNECTION, "database": "e"}}
    assert api.post("pipelines", json=first).status_code == 201
    assert (
        api.post("pipelines", json={"name": "r", "source": "q-source", "target": "q-target"}).status_code
        == 201
    )
    assert api.delete("pipelines/q").json()["status"] == "deleted"
    moved = {**first, "source": {**CONNECTION, "database": "f"}}
    told = problem(api.post("pipelines", json=moved), 409, "connection_in_use")
    assert told["context"]["pipelines"] == ["r"]
    assert running.store.connection("q-source").spec.database == CONNECTION["database"]
    problem(api.get("pipelines/q"), 404, "no_such_pipeline")
    assert api.delete("pipelines/r").json()["status"] == "deleted"
    assert api.post("pipelines", json=moved).status_code == 201


def test_wishes(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    problem(api.post("pipelines/p/pause"), 409, "not_running")
    problem(api.post("pipelines/p/resume"), 409, "not_paused")
    problem(api.post("pipelines/p/verify"), 409, "not_running")
    running.store.set_generation("p", {"id": 1})
    assert api.post("pipelines/p/start").json()["status"] == "starting"
    running.store.set_status("p", "running", "incremental")
    assert api.post("pipelines/p/start").json()["status"] == "running"
    assert api.post("pipelines/p/pause").status_code == 202
    assert running.store.pipeline("p").desired == "paused"
    assert api.post("pipelines/p/resume").json()["status"] == "starting"
    assert api.post("pipelines/p/stop").json() == {"name": "p", "status": "stopping", "phase": None}
    assert running.store.pipeline("p").desired == "stopped"
    running.store.set_desired("p", "running")
    assert api.delete("pipelines/p", params={"drop_target": True}).status_code == 202
    wanted = running.store.pipeline("p")
    assert (wanted.desired, wanted.flags) == ("deleted", {"drop_target": True})
    problem(api.post("pipelines/p/start"), 409, "being_deleted")


def test_an_error_is_left_by_starting_again(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    running.store.set_generation("p", {"id": 1})
    running.store.set_desired("p", "running")
    running.store.set_status("p", "error", error={"code": "x", "message": "m", "guidance": "g"})
    assert api.post("pipelines/p/start").json()["status"] == "starting"
    assert api.get("pipelines/p/status").json()["error"] is None


def test_a_first_start_that_cannot_reach_its_databases_changes_nothing(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    answer = api.post("pipelines/p/start")
    assert answer.status_code in (412, 503), answer.text
    assert "refused" in answer.text
    stored = running.store.pipeline("p")
    assert (stored.desired, stored.status) == ("stopped", "draft")


def test_work_is_asked_of_the_worker(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    running.store.set_desired("p", "running")
    running.store.put_table("p", TableState(USERS, USERS))
    asked = api.post("pipelines/p/tables/public.users/resync").json()
    assert (asked["kind"], asked["args"], asked["status"]) == ("resync", {"table": "public.users"}, "queued")
    verify = api.post("pipelines/p/verify", json={"repair": True}).json()
    assert verify["args"] == {"table": None, "repair": True}
    assert api.post("pipelines/p/tables/public.users/verify").json()["args"]["table"] == "public.users"
    taken = running.store.take_request("p")
    assert taken is not None
    running.store.finish_request(taken.id, {"done": 1})
    assert api.get(f"requests/{asked['id']}").json()["result"] == {"done": 1}
    near = problem(api.post("pipelines/p/tables/public.user/resync"), 404, "no_such_table")
    assert near["context"]["near"] == ["public.users"]
    problem(api.post("pipelines/p/tables/nonsense/resync"), 422, "bad_name")
    problem(api.get("requests/nope"), 404, "no_such_request")


def test_logs_and_certificates(running: Running, api: httpx.Client, pipeline: PipelineSpec) -> None:
    running.store.log("p", "info", "load", "one")
    running.store.log("p", "error", "load", "two", table="t")
    lines = api.get(
        "pipelines/p/logs", params={"level": "error", "start_time": "2020-01-01T00:00:00Z"}
    ).json()
    assert [(line["message"], line["context"]) for line in lines["items"]] == [("two", {"table": "t"})]
    problem(api.get("pipelines/p/logs", params={"level": "loud"}), 422, "invalid_spec")
    running.store.put_table("p", TableState(USERS, USERS))
    verified = {"equal": True, "source_rows": 1, "finished_at": "2026-01-01T00:00:00+00:00"}
    running.store.put_certificate("p", USERS, {"table": str(USERS), "verification": verified})
    answer = api.get("pipelines/p/certificate")
    assert (answer.json()["equal"], answer.json()["tables"][0]["verification"]["source_rows"]) == (True, 1)
    assert "p-certificate.json" in answer.headers["content-disposition"]


def spec(**more: Any) -> dict[str, Any]:
    target = {**CONNECTION, "database": "e"}
    return {
        "connections": {"c": CONNECTION, "d": target},
        "pipelines": {"x": {"source": "c", "target": "d"}},
        "start": False,
        **more,
    }


def test_apply_is_repeatable(running: Running, api: httpx.Client) -> None:
    body = spec(references={"c": {"password": "${env:P}"}})
    first = api.post("apply", json=body).json()
    assert {c["result"] for c in first["connections"]} == {"created"}
    assert [(p["name"], p["result"], p["started"]) for p in first["pipelines"]] == [("x", "created", False)]
    again = api.post("apply", json=body).json()
    assert {c["result"] for c in again["connections"]} == {"unchanged"}
    assert [p["result"] for p in again["pipelines"]] == ["unchanged"]
    assert api.get("connections/c").json()["password"] == "${env:P}"
    body["pipelines"]["x"]["create_target"] = False
    assert [p["result"] for p in api.post("apply", json=body).json()["pipelines"]] == ["updated"]


def test_an_apply_that_does_not_validate_changes_nothing(running: Running, api: httpx.Client) -> None:
    body = spec()
    body["pipelines"]["y"] = {"source": "c", "target": "missing"}
    found = problem(api.post("apply", json=body), 422, "invalid_spec")["context"]["problems"]
    assert [(p["path"], p["code"]) for p in found] == [("pipelines.y.target", "missing_connection")]
    assert running.store.connections() == ([], 0)
    assert running.store.pipelines() == []


def test_an_apply_that_fails_its_preflight_changes_nothing(running: Running, api: httpx.Client) -> None:
    nowhere = {**CONNECTION, "host": "127.0.0.1", "port": 1}
    body = spec(connections={"c": nowhere, "d": {**nowhere, "database": "e"}}, start=True)
    answer = api.post("apply", json=body)
    assert answer.status_code in (412, 503), answer.text
    assert running.store.connections() == ([], 0)
    assert running.store.pipelines() == []


def test_what_binds_a_generation_cannot_change(running: Running, api: httpx.Client) -> None:
    body = spec()
    api.post("apply", json=body)
    running.store.set_generation("x", {"id": 1})
    body["pipelines"]["x"]["mode"] = "cdc_only"
    assert problem(api.post("apply", json=body), 409, "needs_new_pipeline")["context"]["fields"] == ["mode"]


def test_openapi_describes_it_once(api: httpx.Client) -> None:
    found = api.get("openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in found["paths"])
    assert "/api/v1/pipelines/{id}/status" in found["paths"]
    ids = [o["operationId"] for path in found["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


def test_what_is_not_there(api: httpx.Client) -> None:
    problem(api.get("nope"), 404, "not_found")
    problem(api.put("status"), 405, "method_not_allowed")
