"""Methods: HEAD is GET without a body, and what a path does not take is refused with what it takes."""

from __future__ import annotations

import re

import httpx
import people
import pytest
from api_server import Running
from test_api import problem

from headrace.api.app import bare_app
from headrace.api.examples import BODIES
from headrace.api.heads import STREAMS
from headrace.auth import rights
from headrace.spec.models import PipelineSpec

GETS = [r.removeprefix("GET /") for r in rights.ROUTES if r.startswith("GET ") and "{" not in r]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "pipelines", {"GET", "HEAD", "POST"}),
        ("POST", "connections/a", {"GET", "HEAD", "PUT", "DELETE"}),
        ("GET", "pipelines/p/start", {"POST"}),
        ("HEAD", "pipelines/p/start", {"POST"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("POST", "live/events", {"GET"}),
        ("HEAD", "live/events", {"GET"}),
        ("POST", "/api/docs-assets/swagger-ui.css", {"GET", "HEAD"}),
        ("OPTIONS", "/", {"GET", "HEAD"}),
    ],
)
def test_what_is_allowed_is_said(
    running: Running, api: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = api.request(method, f"{running.url}{path}" if path[0] == "/" else path)
    assert answer.status_code == 405, answer.text
    assert set(answer.headers["allow"].split(", ")) == allowed
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        problem(answer, 405, "method_not_allowed")


def test_head_is_get_without_a_body(api: httpx.Client, running: Running, pipeline: PipelineSpec) -> None:
    paths = [
        f"{api.base_url}{p}"
        for p in [*GETS, "pipelines/p", "connections/a", "pipelines/nope", "openapi.json"]
    ]
    pages = [
        f"{running.url}{p}"
        for p in ("/", "/metrics", "/api/docs", "/api/pipelines", "/api/docs-assets/swagger-ui.css")
    ]
    for url in [*paths, *pages]:
        if httpx.URL(url).path in STREAMS:
            continue
        got, head = api.get(url), api.head(url)
        assert (head.status_code, head.content) == (got.status_code, b""), url
        kept = {"content-type", "etag", "location", "content-security-policy"} - (
            {"content-security-policy"}
            if "nonce-" in got.headers.get("content-security-policy", "")
            else set()
        )
        assert {n: head.headers.get(n) for n in kept} == {n: got.headers.get(n) for n in kept}, url
        assert ("content-length" in head.headers) == ("content-length" in got.headers), url
    one = f"{api.base_url}pipelines/p"
    assert api.head(one).headers["content-length"] == str(len(api.get(one).content))


def test_head_needs_what_get_needs(running: Running, api: httpx.Client) -> None:
    assert httpx.head(f"{running.url}/api/v1/pipelines").status_code == 401
    people.add(api, "vic", "user")
    with people.client(running, people.tokens(running, "vic")["access_token"]) as vic:
        assert vic.head("monitoring/pipelines").status_code == 200
        assert vic.head("users").status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", None]
)
def test_a_body_that_is_not_said_to_be_json(api: httpx.Client, kind: str | None) -> None:
    told = bare_app().openapi()["paths"]
    for route in BODIES:
        method, path = route.split(" ")
        headers = {"content-type": kind} if kind else {}
        answer = api.request(method, re.sub(r"{\w+}", "public.nope", path), content=b"{}", headers=headers)
        said = problem(answer, 415, "unsupported_media_type")
        assert "application/json" in said["guidance"]
        assert "415" in told[f"/api/v1{path}"][method.lower()]["responses"], route


def test_json_by_any_name(api: httpx.Client, pipeline: PipelineSpec) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"):
        answer = api.put("auth/me", content=b'{"full_name": 7}', headers={"content-type": kind})
        problem(answer, 422, "invalid_spec")
    problem(api.post("pipelines/p/verify"), 409, "not_running")
    assert httpx.post(f"{api.base_url}pipelines", content=b"{}").status_code == 401
