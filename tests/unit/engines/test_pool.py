"""Connections that several threads share, to a server that answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.engines.postgres.connection import Login
from headrace.engines.postgres.pool import Pool
from headrace.errors import NotFound
from headrace.local.postgres import PostgresServer


@pytest.fixture
def login(metadata_server: PostgresServer) -> Login:
    server = metadata_server
    return Login("127.0.0.1", "postgres", "postgres", server.password or "", server.port)


def test_more_callers_than_connections_are_all_served(login: Login) -> None:
    pool = Pool()

    def ask(_: int) -> int:
        with pool.use(login) as conn:
            found = conn.execute("SELECT pg_backend_pid(), pg_sleep(0.5)").fetchone()
            assert found is not None
            return int(found[0])

    with ThreadPoolExecutor(20) as threads:
        served = list(threads.map(ask, range(20)))
    pool.close()
    # Five rounds of half a second: longer than anybody waits for a server that has never answered.
    assert len(set(served)) == 4


def test_a_server_that_answers_no_does_not_rest(login: Login) -> None:
    pool = Pool()
    wrong = Login(login.host, "nowhere", login.user, login.password, login.port)
    for _ in range(10):
        with pytest.raises(NotFound, match="nowhere"), pool.use(wrong):
            pass
