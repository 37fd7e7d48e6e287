"""What stands around every request: older paths, headers for browsers, other sites' pages, bounds on how often."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import people
import pytest
from api_server import Running
from websockets.asyncio.client import connect

from headrace.auth import rights
from headrace.settings import Web
from headrace.spec.models import PipelineSpec

APP = "https://app.example"
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
LIMIT = 8
# They speak of this moment, or never end.
_CHANGING = {"GET /monitoring/metrics", "GET /metrics", "GET /live/events", "GET /audit/export"}


@pytest.fixture
def web() -> Web:
    return Web(cors_origins=(f"{APP}/",), public_url="https://headrace.example")


def test_paths_without_a_version_answer_the_same(
    running: Running, api: httpx.Client, pipeline: PipelineSpec
) -> None:
    for route in rights.ROUTES:
        method, path = route.split(" ")
        if method != "GET" or route in _CHANGING:
            continue
        path = path.replace("{id}", "p").replace("{connection_id}", "a").replace("{name}", "x")
        if "connections/p" in path:
            path = path.replace("/p", "/a", 1)
        versioned = api.get(path, follow_redirects=False)
        alias = api.get(f"{running.url}/api{path}", follow_redirects=False)
        assert alias.status_code == versioned.status_code, path
        if "json" in versioned.headers.get("content-type", ""):
            assert alias.json().keys() == versioned.json().keys(), path
            assert alias.json().get("kind") == versioned.json().get("kind"), path
    made = api.post(f"{running.url}/api/alerts/rules", json={"name": "r", "metric": "lag_seconds"})
    assert made.status_code == 201
    assert api.delete(f"{running.url}/api/alerts/rules/r").status_code == 204
    assert api.get(f"{running.url}/metrics").headers["content-type"].startswith("text/plain")
    # The alias needs the same right.
    assert httpx.get(f"{running.url}/api/pipelines").status_code == 401


def test_live_has_its_alias(running: Running) -> None:
    async def greeted() -> str:
        headers = {"authorization": f"Bearer {running.token}"}
        async with connect(
            f"{running.url.replace('http', 'ws')}/api/live", additional_headers=headers
        ) as socket:
            return str(json.loads(await socket.recv())["type"])

    assert asyncio.run(greeted()) == "hello"


def test_every_answer_has_the_headers(running: Running, api: httpx.Client) -> None:
    answers = [
        api.get("status"),
        api.get("pipelines/nope"),
        api.get("nothing/of/that/name"),
        api.post("pipelines", content=b"{"),
        api.put("status"),
        api.get("status", headers={"host": "evil.example"}),
        httpx.get(f"{running.url}/api/v1/status"),
        httpx.get(running.url),
        httpx.get(f"{running.url}/api/docs"),
    ]
    assert {a.status_code for a in answers} >= {200, 401, 403, 404, 405}
    for answer in answers:
        assert answer.headers.items() >= SAFE.items(), answer.url
        assert answer.headers["strict-transport-security"] == "max-age=15552000"
        assert answer.headers["x-request-id"]


def test_pages_of_other_sites_may_call_where_settings_name_them(running: Running, api: httpx.Client) -> None:
    asked = {
        "access-control-request-method": "PUT",
        "access-control-request-headers": "if-match,x-csrf-token",
    }
    may = httpx.options(f"{running.url}/api/v1/connections/a", headers={"origin": APP, **asked})
    assert may.status_code == 200
    assert may.headers["access-control-allow-origin"] == APP
    assert may.headers["access-control-allow-credentials"] == "true"
    assert "PUT" in may.headers["access-control-allow-methods"]
    for origin in ("https://evil.example", "http://app.example", "https://app.example.evil.example", "null"):
        refused = httpx.options(f"{running.url}/api/v1/connections/a", headers={"origin": origin, **asked})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        assert "access-control-allow-origin" not in api.get("status", headers={"origin": origin}).headers
    for path in ("status", "pipelines/nope"):
        answer = api.get(path, headers={"origin": APP})
        assert answer.headers["access-control-allow-origin"] == APP
        assert "etag" in answer.headers["access-control-expose-headers"].lower()


def test_cookies_count_from_the_sites_of_the_settings(running: Running, api: httpx.Client) -> None:
    people.add(api, "ann", "admin")
    with people.client(running) as ann:
        body = {"email": "ann@example.org", "password": people.PASSWORD, "cookies": True}
        said = ann.post("auth/login", json=body)
        assert all("secure" in cookie.lower() for cookie in said.headers.get_list("set-cookie"))
        cookies = "; ".join(f"{c.name}={c.value}" for c in ann.cookies.jar)
    rule = {"name": "r", "metric": "lag_seconds"}
    for origin, expected in (("https://evil.example", 403), (APP, 201)):
        headers = {"cookie": cookies, "origin": origin, "x-csrf-token": said.json()["csrf_token"]}
        answer = httpx.post(f"{running.url}/api/v1/alerts/rules", json=rule, headers=headers)
        assert answer.status_code == expected, answer.text


class TestLimits:
    @pytest.fixture
    def web(self) -> Web:
        return Web(rate_principal=LIMIT, rate_anonymous=LIMIT)

    def test_who_asks_too_often_is_told_when_to_ask_again(self, running: Running, api: httpx.Client) -> None:
        people.add(api, "ann", "viewer")
        with people.client(running, people.tokens(running, "ann")["access_token"]) as ann:
            codes = [ann.get("pipelines").status_code for _ in range(LIMIT + 4)]
            assert codes == [200] * LIMIT + [429] * 4
            refused = ann.get("pipelines")
            assert (refused.json()["code"], refused.json()["kind"]) == ("too_many_requests", "too_many")
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["content-type"] == "application/problem+json"
        # Others are not held up by that.
        assert api.get("pipelines").status_code == 200

    def test_nobody_is_bounded_by_address_and_probes_are_not(self, running: Running) -> None:
        codes = [httpx.get(f"{running.url}/api/v1/pipelines").status_code for _ in range(LIMIT + 4)]
        # The window slides in steps: one more may pass where two meet.
        assert LIMIT <= codes.count(401) <= LIMIT + 1
        assert codes == sorted(codes)
        assert codes[-1] == 429
        assert httpx.get(f"{running.url}/api/v1/auth/methods").status_code == 429
        for _ in range(LIMIT):
            assert httpx.get(f"{running.url}/api/v1/health/live").status_code == 200


def test_a_bug_is_answered_like_anything_else(
    running: Running, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("planted words")

    monkeypatch.setattr("headrace.control.alerts.AlertCases.rules", broken)
    port = int(running.url.rsplit(":", 1)[1])
    head = f"GET /api/v1/alerts/rules HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: {APP}\r\nx-request-id: r-7\r\n"
    request = f"{head}authorization: Bearer {running.token}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        # The connection goes on.
        for _ in range(2):
            connection.sendall(request)
            answer = b""
            while b"report it" not in answer:
                part = connection.recv(65536)
                assert part, answer
                answer += part
            said, _, body = answer.decode().partition("\r\n\r\n")
            assert said.startswith("HTTP/1.1 500")
            for name, value in {**SAFE, "x-request-id": "r-7", "access-control-allow-origin": APP}.items():
                assert f"\r\n{name}: {value}" in said
            assert json.loads(body)["code"] == "unexpected"
            assert "planted" not in body
    assert caplog.text.count("RuntimeError: planted words") == 2
