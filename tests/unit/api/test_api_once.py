"""Idempotency keys and ETags over a real server."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import people
from api_server import BOTH, Running

pytestmark = BOTH
RULE = {"name": "lag", "metric": "lag_seconds", "threshold": 60}


def test_a_repeated_call_is_done_once(api: httpx.Client) -> None:
    headers = {"idempotency-key": "k1"}
    first = api.post("alerts/rules", json=RULE, headers=headers)
    again = api.post("alerts/rules", json=RULE, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert api.get("alerts/rules").json()["total"] == 1
    other = api.post("alerts/rules", json={**RULE, "name": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert api.post("alerts/rules", json=RULE).json()["code"] == "exists_already"


def test_many_at_once_are_one(api: httpx.Client) -> None:
    def post(_: int) -> httpx.Response:
        return api.post("alerts/rules", json=RULE, headers={"idempotency-key": "same"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(24)))
    assert {a.status_code for a in answers} <= {201, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"in_progress"}
    assert len({a.json()["id"] for a in answers if a.status_code == 201}) == 1
    assert api.get("alerts/rules").json()["total"] == 1


def test_what_failed_may_be_tried_again_with_the_same_key(api: httpx.Client) -> None:
    headers = {"idempotency-key": "k"}
    refused = api.post("alerts/rules", json={**RULE, "channels": ["ops"]}, headers=headers)
    assert refused.json()["code"] == "no_such_alert_channel"
    assert api.post("alerts/channels", json={"name": "ops", "kind": "in_app"}).status_code == 201
    assert api.post("alerts/rules", json={**RULE, "channels": ["ops"]}, headers=headers).status_code == 201
    assert api.delete("alerts/channels/ops").json()["code"] == "channel_in_use"
    bad = api.post("alerts/rules", json=RULE, headers={"idempotency-key": "x" * 256})
    assert (bad.status_code, bad.json()["code"]) == (422, "idempotency_key")


def test_a_rule_is_changed_only_as_it_was_read(api: httpx.Client) -> None:
    tag = api.post("alerts/rules", json=RULE).headers["etag"]
    changed = api.put("alerts/rules/lag", json={**RULE, "threshold": 5}, headers={"if-match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    late = api.put("alerts/rules/lag", json=RULE, headers={"if-match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "stale")
    assert late.json()["context"]["etag"] == changed.headers["etag"]
    assert api.delete("alerts/rules/lag", headers={"if-match": tag}).status_code == 412
    weak = "W/" + changed.headers["etag"]
    assert api.delete("alerts/rules/lag", headers={"if-match": weak}).status_code == 412
    assert (
        api.delete(
            "alerts/rules/lag", headers={"if-match": f'"x", {late.json()["context"]["etag"]}'}
        ).status_code
        == 204
    )
    assert api.get("alerts/rules/lag").json()["code"] == "no_such_alert_rule"


def test_channels_keep_their_secrets_and_really_send(api: httpx.Client, running: Running) -> None:
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append({"body": json.loads(body), "signature": self.headers["x-headrace-signature"]})
            self.send_response(204 if self.path == "/hook-secret" else 500)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{hook.server_port}/hook-secret"
        made = api.post(
            "alerts/channels", json={"name": "ops", "kind": "webhook", "url": url, "signing_key": "sk-1"}
        )
        assert made.status_code == 201
        assert made.json()["url"] == made.json()["signing_key"] == "********"
        kept = {**{k: made.json()[k] for k in ("name", "kind", "url", "signing_key")}, "enabled": True}
        assert api.put("alerts/channels/ops", json=kept).status_code == 200
        assert api.post("alerts/channels/ops/test").json() == {"name": "ops", "sent": True}
        assert got[0]["body"]["severity"] == "info"
        assert got[0]["signature"].startswith("sha256=")
        assert (
            api.put("alerts/channels/ops", json={**kept, "url": url + "x", "signing_key": "sk-1"}).status_code
            == 200
        )
        failed = api.post("alerts/channels/ops/test")
        hook.shutdown()
    assert (failed.status_code, failed.json()["code"]) == (503, "channel_failed")
    for said in (failed.text, api.get("alerts/channels").text, api.get("audit").text):
        assert "hook-secret" not in said
        assert "sk-1" not in said
    missing = api.post("alerts/channels", json={"name": "m", "kind": "email"})
    assert missing.status_code == 422


def test_the_audit_can_be_searched_and_taken_away(api: httpx.Client) -> None:
    api.post("alerts/rules", json={**RULE, "name": "=cmd()"}, headers={"x-request-id": "r-1"})
    page = api.get("audit", params={"entity_type": "alert_rule", "user": "local"}).json()
    assert page["total"] == 1
    assert (page["items"][0]["action"], page["items"][0]["address"]) == ("created", "127.0.0.1")
    assert api.get("audit", params={"action": "nothing"}).json()["total"] == 0
    lines = api.get("audit/export").text.splitlines()
    assert json.loads(lines[-1])["entity_type"] == "alert_rule"
    csv = api.get("audit/export", params={"format": "csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    window = {"start_time": "2026-01-02T00:00:00", "end_time": "2026-01-01T00:00:00"}
    assert api.get("audit", params=window).json()["code"] == "bad_window"


def test_an_answer_is_kept_for_the_login_that_got_it(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "operator")
    entered = people.tokens(running, "ann")
    body, key = {"name": "ci", "scopes": ["*"]}, {"idempotency-key": "once"}

    def post(token: str) -> httpx.Response:
        with people.client(running, token) as client:
            return client.post("tokens", json=body, headers=key)

    made = post(entered["access_token"])
    assert made.status_code == 201
    renewed = httpx.post(
        f"{running.url}/api/v1/auth/refresh", json={"refresh_token": entered["refresh_token"]}
    ).json()
    assert renewed["refresh_token"] != entered["refresh_token"]
    again = post(renewed["access_token"])
    assert (again.json(), again.headers["idempotency-replayed"]) == (made.json(), "true")
    # A token of the same account, and another login.
    narrow = post(made.json()["token"])
    assert (narrow.status_code, narrow.json()["code"]) == (403, "needs_login")
    other = post(people.tokens(running, "ann")["access_token"])
    assert other.status_code == 201
    assert other.json()["token"] != made.json()["token"]
