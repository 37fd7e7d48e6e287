"""Two real servers of different versions, and a table on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from headrace.engines.model import Mapped, Route, TableName
from headrace.engines.postgres import catalog
from headrace.engines.postgres.connection import Login, connect
from headrace.local.postgres import PostgresServer
from headrace.verify import Report, TableReport, run


@dataclass
class Place:
    """One database."""

    login: Login
    conn: psycopg.Connection[Any]

    def do(self, sql: str, *params: Any) -> None:
        self.conn.execute(sql, params or None)

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql, params or None).fetchall()


@dataclass
class Two:
    """Source and target."""

    source: Place
    target: Place

    def both(self, sql: str) -> None:
        self.source.do(sql)
        self.target.do(sql)

    def route(
        self,
        name: str,
        *,
        target: str | None = None,
        where: str | None = None,
        masks: dict[str, str] | None = None,
        names: dict[str, str] | None = None,
        exclude: tuple[str, ...] = (),
    ) -> Route:
        (table,) = catalog.describe(self.source.conn, [TableName("public", name)])
        masks, names = masks or {}, names or {}
        columns = tuple(
            Mapped(c, names.get(c.name, c.name), masks.get(c.name))
            for c in table.columns
            if c.name not in exclude
        )
        return Route(table, TableName("public", target or name), columns, where)

    def verify(
        self, *routes: Route, caught_up: Callable[[TableName], None] | None = None, **more: Any
    ) -> Report:
        return run(
            self.source.login, self.target.login, routes, caught_up=caught_up or (lambda _: None), **more
        )

    def one(self, route: Route, **more: Any) -> TableReport:
        (table,) = self.verify(route, **more).tables
        assert table.error is None, table.error
        return table


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with (
        PostgresServer(version="15", fsync=False) as source,
        PostgresServer(version="18", fsync=False) as target,
    ):
        yield source, target


def place(server: PostgresServer, database: str) -> Place:
    login = Login("127.0.0.1", database, "postgres", server.password or "", server.port)
    return Place(login, connect(login, search_path="public"))


@pytest.fixture
def two(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[Two]:
    sides = Two(*(place(server, "postgres") for server in servers))
    sides.both("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public")
    yield sides
    sides.source.conn.close()
    sides.target.conn.close()


@pytest.fixture
def encodings(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[Two]:
    """A UTF-8 source and a target in WIN1251, in which letters have other bytes and another order."""
    for server, encoding in zip(servers, ("UTF8", "WIN1251"), strict=True):
        with psycopg.connect(server.conninfo, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS coded")
            admin.execute(f"CREATE DATABASE coded ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    sides = Two(*(place(server, "coded") for server in servers))
    yield sides
    sides.source.conn.close()
    sides.target.conn.close()
