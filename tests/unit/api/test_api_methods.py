"""Methods: HEAD is GET without a body, and what a path does not take is refused with what it takes."""

from __future__ import annotations

import httpx
import people
import pytest
from api_server import Running
from test_api import problem

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
