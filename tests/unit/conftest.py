"""A PostgreSQL server for metadata, started once for all tests that want one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from headrace.local.postgres import PostgresServer
from headrace.store.database import open_engine


@pytest.fixture(scope="session")
def metadata_server() -> Iterator[PostgresServer]:
    with PostgresServer(version="18", fsync=False) as running:
        yield running


@pytest.fixture(scope="session")
def fresh_url(metadata_server: PostgresServer) -> Callable[..., str]:
    """Makes an address of a new database: of today's shape, or empty as ``template0`` is."""
    numbers = count()
    base = f"postgresql://postgres:{metadata_server.password}@127.0.0.1:{metadata_server.port}"

    def make(template: str = "migrated") -> str:
        name = f"metadata{next(numbers)}"
        with psycopg.connect(metadata_server.conninfo, autocommit=True) as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return f"{base}/{name}"

    with psycopg.connect(metadata_server.conninfo, autocommit=True) as conn:
        conn.execute("CREATE DATABASE migrated")
    open_engine(f"{base}/migrated").dispose()
    return make
