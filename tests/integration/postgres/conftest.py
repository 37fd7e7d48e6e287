"""Two real servers, and a fresh database on each for every test that describes one and recreates it on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from psycopg import sql
from two_databases import Pair

from headrace.engines.postgres.connection import Connection, Login, connect
from headrace.local.postgres import PostgresServer


@pytest.fixture(scope="session")
def running() -> Iterator[Callable[[str], PostgresServer]]:
    """Starts a server of a major version when it is first asked for."""
    servers: dict[str, PostgresServer] = {}
    with ExitStack() as stack:

        def get(version: str) -> PostgresServer:
            if version not in servers:
                servers[version] = stack.enter_context(PostgresServer(version=version, fsync=False))
            return servers[version]

        yield get


_RESET = """
DO $$DECLARE found record; BEGIN
  FOR found IN SELECT nspname FROM pg_catalog.pg_namespace
               WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE pg_catalog.format('DROP SCHEMA %I CASCADE', found.nspname);
  END LOOP;
  CREATE SCHEMA public;
END$$
"""


def _login(server: PostgresServer, database: str, user: str = "postgres") -> Login:
    return Login("127.0.0.1", database, user, server.password or "", server.port)


def _empty(server: PostgresServer, database: str) -> Connection:
    """A connection to that database, made when it is not there, emptied when it is: much quicker than a new one."""
    with connect(_login(server, "postgres")) as admin:
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database)))
            admin.execute(
                "DO $$BEGIN CREATE ROLE reader LOGIN PASSWORD 'postgres'; "
                "EXCEPTION WHEN duplicate_object THEN END$$"
            )
    conn = connect(_login(server, database))
    conn.execute(_RESET)
    return conn


@pytest.fixture(
    params=[
        ("15", "18"),
        pytest.param(("18", "18"), marks=pytest.mark.full),
        pytest.param(("18", "15"), marks=pytest.mark.full),
    ],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def pair(request: pytest.FixtureRequest, running: Callable[[str], PostgresServer]) -> Iterator[Pair]:
    """An empty source and an empty target, of each pairing of versions."""
    old, new = (running(version) for version in request.param)
    with _empty(old, "ddl_source") as source, _empty(new, "ddl_target") as target:
        with connect(_login(old, "ddl_source", "reader")) as reader:
            yield Pair(source, target, reader)
