"""Kafka Connect that takes connections and says nothing must not take the server's threads."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from api_server import Running, asked_at_once, silence

HEALTH = ("health", "health/ready", "status")
PATHS = ("connectors", "connectors/c", "connectors/c/status", "connectors/c/offsets", "connector-plugins")


@pytest.fixture
def connect() -> Iterator[str]:
    """The address of a socket that accepts and never answers."""
    with silence() as hole:
        yield f"http://127.0.0.1:{hole}"


def test_others_are_answered_while_sixty_wait_for_it(running: Running, api: httpx.Client) -> None:
    def ask(number: int) -> tuple[int, str]:
        url = f"{running.url}/api/v1/{PATHS[number % len(PATHS)]}"
        answer = httpx.get(url, headers=dict(api.headers), timeout=60)
        return answer.status_code, answer.json()["code"]

    began = time.monotonic()
    told, longest = asked_at_once(api, ask)
    assert longest < 5, longest
    assert time.monotonic() - began < 20
    assert {*told} <= {(503, f"connect_{why}") for why in ("unreachable", "resting", "crowded")}
    before = time.monotonic()
    resting = api.get("connectors")
    assert (resting.status_code, resting.json()["code"]) == (503, "connect_resting")
    assert "retry-after" in resting.headers
    assert time.monotonic() - before < 1


def test_others_are_answered_while_sixty_ask_whether_it_is_well(api: httpx.Client) -> None:
    def ask(number: int) -> tuple[list[str], float]:
        before = time.monotonic()
        told = api.get(HEALTH[number % len(HEALTH)]).json()
        found = told.get("components") or told["context"]["components"]
        return [c["state"] for c in found if c["name"] == "connect"], time.monotonic() - before

    told, longest = asked_at_once(api, ask)
    assert longest < max(seconds for _, seconds in told) / 2
    assert all(state == ["unreachable"] for state, _ in told)
    assert max(seconds for _, seconds in told) < 4
