"""Metadata in a PostgreSQL that has frozen: callers are told in time, and the server still says that it lives."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from headrace.local.postgres import PostgresServer
from headrace.store import pulse
from support.frozen import frozen

pytestmark = pytest.mark.parametrize("metadata_url", ["postgresql"], indirect=True)


def test_callers_are_told_and_the_server_lives(api: httpx.Client, metadata_server: PostgresServer) -> None:
    assert api.get("pipelines").status_code == 200

    def ask(_number: int) -> tuple[int, str, float]:
        before = time.monotonic()
        answer = api.get("pipelines")
        return answer.status_code, answer.json()["code"], time.monotonic() - before

    slowest = 0.0
    with frozen(metadata_server), ThreadPoolExecutor(45) as pool:
        asked = [pool.submit(ask, n) for n in range(45)]
        while not all(a.done() for a in asked):
            before = time.monotonic()
            # A probe, as an orchestrator sends it: without a login, on a connection of its own.
            assert httpx.get(f"{api.base_url}health/live", timeout=10).status_code == 200
            slowest = max(slowest, time.monotonic() - before)
    told = [a.result() for a in asked]
    assert {(status, code) for status, code, _ in told} == {(503, "metadata_unavailable")}
    # Some wait for one of the server's threads first.
    assert max(seconds for *_, seconds in told) < 2 * (pulse.PATIENCE + pulse.CONNECT) + 2
    assert slowest < 1, slowest
    time.sleep(pulse._REST)
    assert api.get("pipelines").status_code == 200
