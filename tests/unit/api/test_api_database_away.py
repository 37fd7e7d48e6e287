"""A database that takes connections and says nothing must not take the server's threads, nor make callers queue."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from api_server import Running, asked_at_once, silence

from headrace.engines.postgres import pool as pools
from headrace.spec.models import ConnectionSpec

PATHS = ("databases", "tables", "columns?table=t", "preview?table=public.t")
CODES = {
    f"{kind}_{why}" for kind, why in (("connection", "lost"), ("database", "busy"), ("database", "resting"))
}


@pytest.fixture
def hole(running: Running) -> Iterator[None]:
    """Behind the connection ``hole`` is a socket that accepts and never answers."""
    with silence() as hole:
        given = {"engine": "postgres", "host": "127.0.0.1", "port": hole, "database": "d"}
        spec = ConnectionSpec.model_validate({**given, "user": "u", "password": "hunter2"})
        running.store.put_connection("hole", spec)
        yield


@pytest.mark.parametrize("callers", [20, 60])
def test_others_are_answered_while_many_wait_for_it(api: httpx.Client, hole: None, callers: int) -> None:
    def ask(number: int) -> tuple[int, str, float]:
        before = time.monotonic()
        answer = api.get(f"schemas/hole/{PATHS[number % len(PATHS)]}")
        return answer.status_code, answer.json()["code"], time.monotonic() - before

    told, longest = asked_at_once(api, ask, callers)
    assert {(status, code) for status, code, _ in told} <= {(503, code) for code in CODES}
    # One that waited for its turn in vain, and one that connected in vain.
    assert max(seconds for *_, seconds in told) < pools.PATIENCE_SECONDS + pools.CONNECT_SECONDS + 2
    assert longest < pools.PATIENCE_SECONDS + 1, longest
    before = time.monotonic()
    resting = api.get("schemas/hole/databases")
    assert (resting.status_code, resting.json()["code"]) == (503, "database_resting")
    assert "retry-after" in resting.headers
    assert time.monotonic() - before < 1


def test_others_are_answered_while_many_log_in_to_it(api: httpx.Client, hole: None) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return str(api.get("connections/hole/tables").json()["code"])
        answer = api.post("connections/hole/test").json()
        return str((answer.get("error") or answer)["code"])

    told, longest = asked_at_once(api, ask)
    assert {*told} == {"connection_lost", "databases_crowded"}
    # What all of them would have taken together, ten seconds each on forty threads.
    assert longest < 5, longest
