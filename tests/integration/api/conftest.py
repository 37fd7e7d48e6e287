"""A real Kafka, a real Connect and a real API server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack
from support.serving import served


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[httpx.Client]:
    with served(stack.settings) as client:
        yield client


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    """A database with a table ``public.t`` and a login whose password is recognisable."""
    with PostgresServer(version="18", fsync=False) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            conn.execute("CREATE ROLE capturer SUPERUSER LOGIN PASSWORD 'planted-secret-4711'")
            conn.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
            conn.execute("INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 20) n")
        yield server
