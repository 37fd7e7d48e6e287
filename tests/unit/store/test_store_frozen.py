"""A PostgreSQL that has frozen: every call ends in time, and what merely takes long is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from headrace.errors import HeadraceError, Unavailable
from headrace.local.postgres import PostgresServer
from headrace.settings import Settings
from headrace.store import Store, pulse
from headrace.store.database import connect, writing
from support.frozen import frozen

BOUND = pulse.PATIENCE + pulse.CONNECT + 2


@pytest.fixture
def url(fresh_url: Callable[..., str]) -> str:
    return fresh_url()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store(Settings(tmp_path, database_url=url))
    yield opened
    opened.close()


def told(call: Callable[[], Any]) -> tuple[str, float]:
    """The code of the error that a call ends in, and after how many seconds."""
    began = time.monotonic()
    try:
        call()
    except HeadraceError as error:
        return error.code, time.monotonic() - began
    return "", time.monotonic() - began


def test_every_call_of_a_frozen_database_ends(store: Store, metadata_server: PostgresServer) -> None:
    store.ping()
    with frozen(metadata_server), ThreadPoolExecutor(45) as pool:
        found = [f.result() for f in [pool.submit(told, store.pipelines) for _ in range(45)]]
        assert {code for code, _ in found} == {"metadata_unavailable"}
        assert max(seconds for _, seconds in found) < BOUND
        # Who comes right after is told so at once.
        code, seconds = told(store.ping)
        assert code == "metadata_unavailable"
        assert seconds < 1
    time.sleep(pulse._REST)
    store.ping()


def test_a_statement_that_runs_when_it_freezes_ends(store: Store, metadata_server: PostgresServer) -> None:
    transactions = writing(store._engine)
    transaction = transactions.__enter__()
    with frozen(metadata_server):
        began = time.monotonic()
        with pytest.raises(DBAPIError) as raised:
            transaction.execute(text("SELECT 1"))
        assert time.monotonic() - began < BOUND
        with pytest.raises(Unavailable, match="has stopped answering"):
            transactions.__exit__(DBAPIError, raised.value, None)


def test_what_takes_long_is_left_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PATIENCE", 0.2)
    looked = threading.Event()
    answers = pulse.Pulse._answers

    def look(self: pulse.Pulse, lives: Any) -> bool:
        looked.set()
        return answers(self, lives)

    monkeypatch.setattr(pulse.Pulse, "_answers", look)
    engine = connect(url)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(5)")

        def let_go() -> None:
            looked.wait(10)
            time.sleep(1)
            other.commit()

        waiting = threading.Thread(target=let_go)
        waiting.start()
        with writing(engine) as transaction:
            transaction.execute(text("SELECT pg_advisory_xact_lock(5)"))
            assert transaction.execute(text("SELECT count(*) FROM generate_series(1, 9)")).scalar() == 9
        waiting.join()
    engine.dispose()
    assert looked.is_set()


def test_a_pool_without_a_turn_is_no_bug(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.store.database._TURN_SECONDS", 0.1)
    engine = connect(url)
    held = [engine.connect() for _ in range(20)]
    with pytest.raises(Unavailable, match="no connection was free"), writing(engine):
        pass
    for connection in held:
        connection.close()
    engine.dispose()
