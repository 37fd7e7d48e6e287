"""Kafka that takes connections and says nothing must not take the server's threads."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from api_server import Running, asked_at_once, silence

PATHS = ("topics", "topics/t", "topics/t/messages")


@pytest.fixture
def kafka() -> Iterator[str]:
    """The address of a socket that accepts and never answers."""
    with silence() as hole:
        yield f"127.0.0.1:{hole}"


def test_others_are_answered_while_sixty_wait_for_it(running: Running, api: httpx.Client) -> None:
    def ask(number: int) -> tuple[int, str]:
        url = f"{running.url}/api/v1/{PATHS[number % len(PATHS)]}"
        answer = httpx.get(url, headers=dict(api.headers), timeout=60)
        return answer.status_code, answer.json()["code"]

    began = time.monotonic()
    told, longest = asked_at_once(api, ask)
    assert longest < 1.5, longest
    assert time.monotonic() - began < 20
    assert {*told} <= {(503, f"kafka_{why}") for why in ("unreachable", "resting", "crowded")}
    before = time.monotonic()
    resting = api.get("topics")
    assert (resting.status_code, resting.json()["code"]) == (503, "kafka_resting")
    assert "retry-after" in resting.headers
    assert time.monotonic() - before < 1
