"""Generated columns of PostgreSQL 18: what makes the user's own changes fail, and that preflight says so before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from headrace.engines.postgres import capture, catalog, checks_source
from headrace.engines.postgres.connection import Connection, Login, connect
from headrace.errors import Finding
from headrace.local.postgres import PostgresServer

NAMES = capture.Names("headrace_g", "headrace_g", "g")
VIRTUAL = "v int GENERATED ALWAYS AS (a * 2) VIRTUAL"
STORED = "w int GENERATED ALWAYS AS (a * 2) STORED"


class Shop:
    """One database of its own, as its owner sees it."""

    def __init__(self, server: PostgresServer) -> None:
        self.login = Login("127.0.0.1", "generated", "postgres", server.password or "", server.port)
        with psycopg.connect(server.conninfo, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS generated WITH (FORCE)")
            admin.execute("CREATE DATABASE generated")
        self.conn: Connection = connect(self.login)
        self.conn.execute("SET search_path = public")

    def run(self, sql: str) -> None:
        """Statements of the user."""
        self.conn.execute(sql.encode())

    def found(self, publication: str | None = None, without: str | None = None) -> list[Finding]:
        """What preflight says; ``without``: a column the spec excludes."""
        with connect(self.login) as conn:
            tables = catalog.describe(conn)
        given: dict[str, Any] = {"slot": "g", "replica_identity": "set", "mode": "full_load_and_cdc"}
        return checks_source.check(
            self.login, [_without(t, without) for t in tables], publication=publication, **given
        )

    def codes(self, publication: str | None = None, without: str | None = None) -> set[str]:
        """Codes of the errors."""
        return {f.code for f in self.found(publication, without) if f.severity == "error"}

    def fixed(self, code: str, publication: str | None = None) -> None:
        """Run the fixes of the findings of that code; they must be gone then."""
        for finding in self.found(publication):
            if finding.code == code:
                assert finding.fix
                assert finding.guidance
                self.run(finding.fix)
        assert code not in self.codes(publication)

    def publish(self) -> None:
        """As the pipeline does."""
        with connect(self.login) as conn:
            capture.publish(conn, NAMES, catalog.describe(conn))

    def may_write(self, table: str = "x") -> bool:
        """Whether the user's own UPDATE and DELETE work."""
        self.run(f"INSERT INTO {table} (a) VALUES (1)")
        try:
            self.run(f"UPDATE {table} SET a = 2")
            self.run(f"DELETE FROM {table}")
        except psycopg.errors.InvalidColumnReference as error:
            if "unpublished generated columns" not in (error.diag.message_detail or ""):
                raise
            return False
        return True


def _without(table: Any, column: str | None) -> Any:
    from dataclasses import replace

    return replace(table, columns=tuple(c for c in table.columns if c.name != column))


@pytest.fixture
def shop(running: Callable[[str], PostgresServer]) -> Iterator[Shop]:
    made = Shop(running("18"))
    yield made
    made.conn.close()


@pytest.mark.parametrize("excluded", [None, "v"])
def test_virtual_columns_of_a_keyless_table(shop: Shop, excluded: str | None) -> None:
    shop.run(f"CREATE TABLE x (a int, {VIRTUAL})")
    assert shop.may_write()
    assert shop.codes(without=excluded) == {"virtual_generated"}
    shop.publish()
    assert not shop.may_write()


def test_a_key_mends_it(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int, {VIRTUAL}); ALTER TABLE x REPLICA IDENTITY FULL")
    shop.fixed("virtual_generated")
    assert shop.codes() == set()
    shop.publish()
    assert shop.may_write()


def test_identity_full_beside_a_key(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int PRIMARY KEY, {VIRTUAL}); ALTER TABLE x REPLICA IDENTITY FULL")
    shop.run(f"CREATE TABLE y (a int NOT NULL UNIQUE, {VIRTUAL}); ALTER TABLE y REPLICA IDENTITY FULL")
    assert [f.subject for f in shop.found() if f.code == "virtual_generated"] == ["public.x", "public.y"]
    shop.fixed("virtual_generated")
    shop.publish()
    assert shop.may_write()
    assert shop.may_write("y")


def test_partitions(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int, {VIRTUAL}) PARTITION BY RANGE (a)")
    shop.run("CREATE TABLE x1 PARTITION OF x FOR VALUES FROM (0) TO (9)")
    (finding,) = [f for f in shop.found() if f.severity == "error"]
    assert (finding.code, finding.subject, finding.fix) == ("virtual_generated", "public.x", None)


def test_harmless_ones(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int, {STORED}); CREATE TABLE y (a int PRIMARY KEY, {VIRTUAL}, {STORED})")
    assert shop.codes() == set()
    shop.publish()
    assert shop.may_write()
    assert shop.may_write("y")


def test_named_publication_that_leaves_stored_columns_out(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int, {STORED}); ALTER TABLE x REPLICA IDENTITY FULL")
    shop.run(f"CREATE TABLE y (a int PRIMARY KEY, {STORED})")
    shop.run("CREATE PUBLICATION p FOR TABLE x, y WITH (publish_via_partition_root = true)")
    assert not shop.may_write()
    assert shop.codes("p") == {"publication_generated"}
    (finding,) = [f for f in shop.found("p") if f.code == "publication_generated"]
    assert "public.x (w)" in finding.message
    assert "public.y" not in finding.message
    shop.fixed("publication_generated", "p")
    assert shop.codes("p") == set()
    assert shop.may_write()


def test_named_publication_and_virtual_columns(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int, {VIRTUAL}); ALTER TABLE x REPLICA IDENTITY FULL")
    with_ = "publish_via_partition_root = true, publish_generated_columns = stored"
    shop.run(f"CREATE PUBLICATION p FOR TABLE x WITH ({with_})")
    assert not shop.may_write()
    assert shop.codes("p") == {"virtual_generated"}


def test_stored_key_column_of_a_named_publication(shop: Shop) -> None:
    shop.run(f"CREATE TABLE x (a int NOT NULL UNIQUE, {STORED} PRIMARY KEY)")
    shop.run("ALTER TABLE x REPLICA IDENTITY DEFAULT; CREATE PUBLICATION p FOR TABLE x "
             "WITH (publish_via_partition_root = true)")  # fmt: skip
    assert not shop.may_write()
    assert "publication_generated" in shop.codes("p")


def test_older_servers_refuse_nothing(running: Callable[[str], PostgresServer]) -> None:
    shop = Shop(running("15"))
    shop.run(f"CREATE TABLE x (a int, {STORED}); ALTER TABLE x REPLICA IDENTITY FULL")
    shop.run("CREATE PUBLICATION p FOR TABLE x WITH (publish_via_partition_root = true)")
    assert shop.may_write()
    assert shop.codes("p") == set()
    shop.conn.close()
