"""What changes something is in the audit, by whom, from what and to what, under the thing's own name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import people
import pytest
from api_server import BOTH, Running

from headrace.secrecy import MASK
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store.records import TableState

pytestmark = BOTH
JSON = dict[str, Any]
USERS = TableName("public", "users")
CONNECTION = {"engine": "postgres", "host": "h", "database": "d", "user": "u", "password": "hunter2"}


@pytest.fixture
def operator(api: httpx.Client, running: Running) -> Iterator[httpx.Client]:
    people.add(api, "olga", "operator")
    with people.client(running, people.tokens(running, "olga")["access_token"]) as client:
        yield client


def last(api: httpx.Client, kind: str) -> JSON:
    """The newest entry about such a thing."""
    found: JSON = api.get("audit", params={"entity_type": kind, "limit": 1}).json()["items"][0]
    return found


def test_a_connections_life(api: httpx.Client, operator: httpx.Client) -> None:
    made = operator.post("connections", json={"name": "c", **CONNECTION}).json()
    entry = last(api, "connection")
    assert (entry["action"], entry["entity_id"], entry["user_name"]) == ("created", "c", "olga@example.org")
    assert (entry["old_values"], entry["new_values"]["password"]) == (None, MASK)
    operator.put(f"connections/{made['id']}", json={**CONNECTION, "host": "x"})
    entry = last(api, "connection")
    assert (entry["old_values"]["host"], entry["new_values"]["host"]) == ("h", "x")
    assert operator.delete(f"connections/{made['id']}").status_code == 204
    entry = last(api, "connection")
    assert (entry["action"], entry["entity_id"], entry["new_values"]) == ("deleted", "c", None)
    assert (entry["old_values"]["host"], entry["old_values"]["password"]) == ("x", MASK)


def test_a_pipelines_life(
    running: Running, api: httpx.Client, operator: httpx.Client, pipeline: PipelineSpec
) -> None:
    own = api.get("pipelines/p").json()["id"]
    running.store.set_generation("p", {"id": "g", "prefix": "headrace.p", "connector": "headrace-p"})
    running.store.put_table("p", TableState(USERS, USERS))
    letter = running.store.add_dead_letter(
        "p", USERS, topic="t", offset=1, key=None, cause="c", message="m", event=None
    )
    deeds: tuple[tuple[str, JSON | None, str, JSON], ...] = (
        ("start", None, "desired_running", {"desired": "running"}),
        ("pause", None, "desired_paused", {"desired": "paused"}),
        ("resume", None, "desired_running", {"desired": "running"}),
        ("tables/public.users/resync", None, "resync", {"table": "public.users"}),
        ("verify", {"repair": True}, "verify", {"table": None, "repair": True}),
        ("dead-letters", {"action": "discard", "ids": [letter]}, "dead_letters_discarded", {"ids": [letter]}),
        ("stop", None, "desired_stopped", {"desired": "stopped"}),
    )
    for path, body, action, new in deeds:
        # By its id: the audit names it as people do.
        answer = operator.post(f"pipelines/{own}/{path}", json=body)
        assert answer.is_success, answer.text
        entry = last(api, "pipeline")
        assert (entry["action"], entry["entity_id"], entry["new_values"]) == (action, "p", new)
        assert entry["user_name"] == "olga@example.org"
        assert entry["request_id"] == answer.headers["x-request-id"]
    changed = {"source": "a", "target": "b", "create_target": False}
    assert operator.put("pipelines/p", json=changed).status_code == 200
    entry = last(api, "pipeline")
    assert (entry["old_values"]["create_target"], entry["new_values"]["create_target"]) == (True, False)
    assert operator.delete("pipelines/p", params={"drop_target": True}).status_code == 202
    entry = last(api, "pipeline")
    assert entry["new_values"] == {"desired": "deleted", "drop_target": True}
    assert entry["old_values"]["spec"]["create_target"] is False


def test_what_is_refused_or_changes_nothing_is_not_written_down(
    api: httpx.Client, operator: httpx.Client, pipeline: PipelineSpec
) -> None:
    assert operator.post("connections", json={"name": "c", **CONNECTION}).status_code == 201
    before = api.get("audit").json()["total"]
    assert operator.put("connections/c", json=CONNECTION).status_code == 200
    assert operator.post("pipelines/p/verify").status_code == 409
    assert operator.delete("connections/a").status_code == 409
    assert operator.post("users", json={"email": "x@example.org"}).status_code == 403
    assert api.get("audit").json()["total"] == before


def test_a_name_and_an_id_lead_to_the_same_history(api: httpx.Client, operator: httpx.Client) -> None:
    known = operator.post("connections", json={"name": "c", **CONNECTION}).json()["id"]
    assert operator.delete("connections/c").status_code == 204
    told = [api.get("audit", params={"entity_id": which}).json()["items"] for which in ("c", known)]
    assert told[0] == told[1]
    assert [entry["action"] for entry in told[0]] == ["deleted", "created"]
