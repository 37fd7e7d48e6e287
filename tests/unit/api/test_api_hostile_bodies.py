"""Bodies that are made to keep the server busy: strangers' above all."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import httpx
import people
import pytest
from api_server import Running

from headrace.api.bounded import MOST_ENTRIES, PUBLIC_BYTES, check_text
from headrace.spec.models import PipelineSpec

LARGE = 4 << 20
DEEP = b"[" * 65
JSON_ = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        DEEP + b'"' + b'\\"' * (LARGE // 2),
        DEEP + b'"' + b'\\"' * (LARGE // 2) + b"\\",
        DEEP + b'"' + b"\\\n" * (LARGE // 2),
        DEEP + b'"\\' * (LARGE // 2),
        DEEP + b'"' * (LARGE + 1),
        DEEP + b"\\" * LARGE,
        DEEP + (b'"' + b"a" * 100 + b"\\") * (LARGE // 102),
        b"," * (LARGE // 2) + b'"' + b'\\"' * (LARGE // 4),
        b'["' + b"\\\\" * (LARGE // 2) + b'\\u0000"]',
    ],
    ids=range(9),
)
def test_no_body_is_read_twice(body: bytes) -> None:
    began = time.monotonic()
    with suppress(Exception):
        check_text(body)
    assert time.monotonic() - began < 3


def test_depth_is_told_apart_from_text() -> None:
    for text in (b'"' + b"[" * 100 + b'"', b'"\\"' + b"[" * 100 + b'"', b'"' + b"[" * 100):
        check_text(b"[" + text)
    for body in (b'["\\\\",' + b"[" * 100, b'["a",' * 65, b'["\\\n",' + b"[" * 100):
        with pytest.raises(Exception, match="body_too_deep"):
            check_text(body)
    check_text(b'["' + b"," * (MOST_ENTRIES + 1) + b'"]')
    with pytest.raises(Exception, match="body_too_many"):
        check_text(b"[" + b"1," * (MOST_ENTRIES + 1) + b"1]")


@pytest.mark.parametrize("path", ["auth/login", "auth/signup", "auth/refresh", "auth/logout"])
def test_a_stranger_sends_little(running: Running, path: str) -> None:
    body = b"{" + b",".join(b'"%x":1' % n for n in range(380_000)) + b"}"
    for content in (body, iter([body])):
        answer = httpx.post(
            f"{running.url}/api/v1/{path}", content=content, headers={**JSON_, "connection": "close"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.json()["context"]["max_bytes"] == PUBLIC_BYTES


def test_of_many_problems_some_are_told(api: httpx.Client) -> None:
    wrong: dict[str, Any] = {f"k{n}": 1 for n in range(40_000)}
    began = time.monotonic()
    answer = api.post("alerts/rules", json={"k" * 100_000: 1, **wrong})
    took, told = time.monotonic() - began, answer.json()
    assert (answer.status_code, told["code"]) == (422, "invalid_spec")
    assert len(told["context"]["problems"]) == 50
    # Two keys are missing, too.
    assert told["context"]["left_out"] == 40_001 + 2 - 50
    assert told["message"].endswith(f"and {40_003 - 50} more")
    assert len(answer.content) < 50_000
    assert took < 3
    few = api.post("alerts/rules", json={"k": 1}).json()
    assert "left_out" not in few["context"]
    many = json.dumps(list(range(MOST_ENTRIES + 2)))
    assert api.post("alerts/rules", content=many, headers=JSON_).json()["code"] == "body_too_many"


@pytest.mark.parametrize("mode", [[], {}, ["batch"], 1, None, "nonsense"])
def test_a_mode_that_is_none_is_told(api: httpx.Client, pipeline: PipelineSpec, mode: Any) -> None:
    body = {"name": "q", "source": "a", "target": "b", "mode": mode}
    for answer in (api.post("pipelines", json=body), api.put("pipelines/p", json=body)):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec"), answer.text


def test_a_login_still_fits(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    assert people.tokens(running, "ann")["token_type"] == "bearer"
    long = {"email": "ann@example.org", "password": "\x01" * 1024}
    answer = httpx.post(f"{running.url}/api/v1/auth/login", json=long)
    assert answer.json()["code"] == "wrong_login"
