"""A publication that the user named, in each way PostgreSQL can say what it covers: preflight and capture agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from headrace.engines.model import Table, TableName
from headrace.engines.postgres import capture, catalog, checks_source
from headrace.engines.postgres.connection import Login, connect
from headrace.errors import Precondition
from headrace.local.postgres import PostgresServer

NAMES = capture.Names("headrace_p", "p", "p", own_publication=False)
ROOT = "WITH (publish_via_partition_root = true)"
TABLES = """
CREATE SCHEMA shop; CREATE SCHEMA leaves;
CREATE TABLE shop.t (id int PRIMARY KEY);
CREATE TABLE shop.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE leaves.parts_2 PARTITION OF shop.parts FOR VALUES FROM (10) TO (20);
CREATE TABLE public.other (id int PRIMARY KEY);
"""
T, PARTS, OTHER = TableName("shop", "t"), TableName("shop", "parts"), TableName("public", "other")


class Shop:
    """A database with these tables, on a server of that version."""

    def __init__(self, server: PostgresServer) -> None:
        self.login = Login("127.0.0.1", "named", "postgres", server.password or "", server.port)
        with psycopg.connect(server.conninfo, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS named WITH (FORCE)")
            admin.execute("CREATE DATABASE named")
        self.run(TABLES)

    def run(self, sql: str) -> None:
        with connect(self.login) as conn:
            conn.execute(sql.encode())

    def tables(self, *names: TableName) -> list[Table]:
        with connect(self.login) as conn:
            return catalog.describe(conn, names)

    def errors(self, *names: TableName) -> dict[str, str]:
        """Code -> message of preflight's errors for these tables."""
        given: dict[str, Any] = {"slot": "g", "replica_identity": "set", "mode": "cdc_only"}
        found = checks_source.check(self.login, self.tables(*names), publication="p", **given)
        return {f.code: f.message for f in found if f.severity == "error"}

    def publish(self, *names: TableName) -> None:
        """As the pipeline does at its start."""
        with connect(self.login) as conn:
            capture.publish(conn, NAMES, self.tables(*names))

    def published(self) -> set[TableName] | None:
        with connect(self.login) as conn:
            return capture.published(conn, "p")


def agree(shop: Shop, covered: set[TableName], lacking: set[TableName]) -> None:
    """Preflight passes exactly where capture does."""
    assert shop.errors(*covered) == {}
    shop.publish(*covered)
    published = shop.published()
    assert published is not None
    assert covered <= published
    for name in lacking:
        assert str(name) in shop.errors(*covered, name)["publication_tables"]
        with pytest.raises(Precondition, match=str(name)):
            shop.publish(*covered, name)


@pytest.mark.parametrize("version", ["15", "18"])
def test_tables_in_schema(running: Callable[[str], PostgresServer], version: str) -> None:
    shop = Shop(running(version))
    shop.run(f"CREATE PUBLICATION p FOR TABLES IN SCHEMA shop {ROOT}")
    agree(shop, {T, PARTS}, {OTHER})
    shop.run("ALTER PUBLICATION p ADD TABLE public.other")
    agree(shop, {T, PARTS, OTHER}, set())
    shop.run("CREATE TABLE shop.later (id int PRIMARY KEY)")
    agree(shop, {T, TableName("shop", "later")}, set())


def test_schema_of_some_leaves_only(running: Callable[[str], PostgresServer]) -> None:
    shop = Shop(running("18"))
    shop.run(f"CREATE PUBLICATION p FOR TABLES IN SCHEMA leaves {ROOT}")
    shop.run("ALTER PUBLICATION p ADD TABLE shop.t")
    agree(shop, {T}, {PARTS})


@pytest.mark.parametrize("version", ["13", "18"])
def test_leaves_by_name_are_not_their_root(running: Callable[[str], PostgresServer], version: str) -> None:
    """publish_via_partition_root speaks of roots that are published; leaves alone go by their own names."""
    shop = Shop(running(version))
    marker(shop)
    more = ", headrace.marker" if version == "13" else ""
    shop.run(f"CREATE PUBLICATION p FOR TABLE shop.t, shop.parts_1, leaves.parts_2{more} {ROOT}")
    agree(shop, {T}, {PARTS})
    shop.run("ALTER PUBLICATION p ADD TABLE shop.parts")
    agree(shop, {T, PARTS}, set())


@pytest.mark.parametrize("version", ["13", "18"])
def test_all_tables(running: Callable[[str], PostgresServer], version: str) -> None:
    shop = Shop(running(version))
    shop.run(f"CREATE PUBLICATION p FOR ALL TABLES {ROOT}")
    if version == "13":
        given: dict[str, Any] = {"slot": "g", "replica_identity": "set", "mode": "cdc_only"}
        found = checks_source.check(shop.login, shop.tables(T), publication="p", **given)
        (finding,) = [f for f in found if f.severity == "error"]
        assert finding.code == "marker_table"
        shop.run(finding.fix or "")
    agree(shop, {T, PARTS, OTHER}, set())


def marker(shop: Shop) -> None:
    """What preflight asks for on PostgreSQL 13."""
    shop.run("CREATE SCHEMA headrace")
    shop.run("CREATE TABLE headrace.marker (pipeline text PRIMARY KEY, marker text NOT NULL)")


def test_no_such_publication(running: Callable[[str], PostgresServer]) -> None:
    shop = Shop(running("18"))
    assert shop.published() is None
    assert "publication_missing" in shop.errors(T)


def test_own_publication_lists_tables_and_never_all(running: Callable[[str], PostgresServer]) -> None:
    shop = Shop(running("18"))
    own = capture.Names("s", "mine", "p")
    with connect(shop.login) as conn:
        capture.publish(conn, own, shop.tables(T, PARTS))
        capture.publish(conn, own, shop.tables(T, OTHER))
        assert capture.published(conn, "mine") == {T, OTHER}
        assert conn.execute("SELECT puballtables FROM pg_publication WHERE pubname = 'mine'").fetchone() == (
            False,
        )


def test_column_list_of_a_table_with_full_identity(running: Callable[[str], PostgresServer]) -> None:
    """PostgreSQL refuses the user's own UPDATE even where the list has every column."""
    shop = Shop(running("18"))
    shop.run("CREATE TABLE shop.keyless (a int, b int); ALTER TABLE shop.keyless REPLICA IDENTITY FULL")
    shop.run(f"CREATE PUBLICATION p FOR TABLE shop.keyless (a, b), shop.t (id) {ROOT}")
    with pytest.raises(psycopg.errors.InvalidColumnReference, match="cannot update"):
        shop.run("UPDATE shop.keyless SET a = 2")
    keyless = TableName("shop", "keyless")
    given: dict[str, Any] = {"slot": "g", "replica_identity": "set", "mode": "cdc_only"}
    found = checks_source.check(shop.login, shop.tables(keyless, T), publication="p", **given)
    (finding,) = [f for f in found if f.severity == "error"]
    assert (finding.code, finding.subject) == ("publication_partial", "shop.keyless")
    shop.run(finding.fix or "")
    assert shop.errors(keyless, T) == {}
    shop.run("UPDATE shop.keyless SET a = 2")
