"""Kafka that takes connections and says nothing must not take the server's threads."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from api_server import Running

PATHS = ("topics", "topics/t", "topics/t/messages")


@pytest.fixture
def kafka() -> Iterator[str]:
    """The address of a socket that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as hole:
        yield f"127.0.0.1:{hole.getsockname()[1]}"


def test_others_are_answered_while_sixty_wait_for_it(running: Running, api: httpx.Client) -> None:
    def ask(number: int) -> tuple[int, str]:
        url = f"{running.url}/api/v1/{PATHS[number % len(PATHS)]}"
        answer = httpx.get(url, headers=dict(api.headers), timeout=60)
        return answer.status_code, answer.json()["code"]

    began, longest = time.monotonic(), 0.0
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(ask, n) for n in range(60)]
        while not all(a.done() for a in asked):
            before = time.monotonic()
            assert api.get("pipelines").status_code == 200
            longest = max(longest, time.monotonic() - before)
    told = {a.result() for a in asked}
    assert longest < 1.5, longest
    assert time.monotonic() - began < 20
    assert told <= {(503, f"kafka_{why}") for why in ("unreachable", "resting", "crowded")}
    before = time.monotonic()
    resting = api.get("topics")
    assert (resting.status_code, resting.json()["code"]) == (503, "kafka_resting")
    assert "retry-after" in resting.headers
    assert time.monotonic() - before < 1
