"""A real Kafka, a real Connect and a real API server for all tests of this folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from headrace.api import serving
from headrace.api.app import create_app
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack
from headrace.settings import Settings
from support.lab import until


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a server with these settings, at the API's base, with the installation's token."""
    server = serving.Server(serving.config(create_app(settings), settings, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 30, "the server")
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"authorization": f"Bearer {settings.token_file.read_text().strip()}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


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
