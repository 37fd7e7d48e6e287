"""Whole pipelines of users that have only the documented grants: what the check lets pass has to run."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from headrace.local.postgres import PostgresServer
from support.documented import documented, statements
from support.lab import NOTHING, Lab, Pair, leftovers

TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, tags text[] NOT NULL);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint, total numeric(10,2));
CREATE TABLE events (id bigint, day date, what text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits (page text, seen timestamptz);
INSERT INTO customers SELECT i, 'c' || i, ARRAY[repeat(md5(i::text), 200)] FROM generate_series(1, 300) i;
INSERT INTO orders (customer, total) SELECT i, i FROM generate_series(1, 300) i;
INSERT INTO events SELECT i, date '2024-06-01' + i, 'e' FROM generate_series(1, 400) i;
INSERT INTO visits SELECT 'p' || i % 7, now() FROM generate_series(1, 50) i
"""
NAMES = ("customers", "orders", "events", "visits")
LOGIN = {"user": "headrace", "password": "secret"}


def run(server: PostgresServer, pair: Pair, text: str) -> None:
    """Run the administrator's statements, with the example's database replaced by the pair's."""
    text = re.sub(r"DATABASE (shop|warehouse)\b", f"DATABASE {pair.name}", text)
    with psycopg.connect(server.conninfo_of(pair.name), autocommit=True) as conn:
        for statement in statements(text):
            conn.execute(statement.encode())


@pytest.fixture
def strict(lab: Lab) -> Iterator[Pair]:
    """A pair whose tables belong to shop_owner; roles are gone afterwards."""
    servers = (lab.source, lab.target)
    with lab.pair() as pair:
        # A new database lets nobody but its owner make tables in schema public since 15, and everybody before.
        run(
            lab.source,
            pair,
            "CREATE ROLE shop_owner; GRANT USAGE, CREATE ON SCHEMA public TO shop_owner; SET ROLE shop_owner;"
            + TABLES,
        )
        yield pair
    for server in servers:
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            conn.execute("REVOKE ALL ON PARAMETER session_replication_role FROM headrace")
            conn.execute("DROP ROLE IF EXISTS headrace")
            conn.execute("DROP ROLE IF EXISTS shop_owner")


@pytest.mark.parametrize(
    ("source", "target"),
    [("source", "target"), ("source-publication", "target-schemas")],
    ids=["creates", "strict"],
)
def test_documented_grants_are_enough(lab: Lab, strict: Pair, source: str, target: str) -> None:
    run(lab.source, strict, documented(source))
    run(lab.target, strict, documented(target))
    names = {"names": {"publication": "headrace"}} if source == "source-publication" else {}
    strict.apply(source=LOGIN, target=LOGIN, **names)
    for change in (
        "UPDATE customers SET name = name || 'x' WHERE id % 3 = 0",
        "DELETE FROM orders WHERE id % 5 = 0",
        "INSERT INTO events SELECT i, date '2024-01-01' + i % 700, 'n' FROM generate_series(1001, 1400) i",
        "DELETE FROM visits WHERE page = 'p3'",
    ):
        strict.src.execute(change)
    strict.settle(*NAMES)
    strict.src.execute("ALTER TABLE customers ADD COLUMN since date DEFAULT '2024-01-01'")
    strict.src.execute("INSERT INTO customers VALUES (9001, 'late', '{a}', '2025-01-01')")
    strict.settle("customers")
    strict.cli("resync", strict.name, "public.orders")
    assert strict.cli("verify", strict.name)["equal"] is True
    strict.equal(*NAMES)
    strict.cli("delete", strict.name)
    own = (
        NOTHING if source == "source" else {**NOTHING, "publications": ["headrace"], "progress": ["headrace"]}
    )
    assert leftovers(lab, strict) == own


def test_a_schema_that_is_only_lent_is_used_and_left(lab: Lab, strict: Pair) -> None:
    run(lab.source, strict, documented("source"))
    run(
        lab.target,
        strict,
        documented("target-schemas").replace("AUTHORIZATION headrace", "")
        + "GRANT USAGE, CREATE ON SCHEMA headrace TO headrace",
    )
    for _ in range(2):
        strict.apply(source=LOGIN, target=LOGIN, tables=["public.customers"])
        strict.cli("delete", strict.name)
        strict.tgt.execute("DROP TABLE customers")
    assert leftovers(lab, strict) == {**NOTHING, "progress": ["headrace"]}


def test_tables_of_ones_own_need_no_more_than_the_grants(lab: Lab, strict: Pair) -> None:
    run(lab.source, strict, documented("source-publication"))
    strict.tgt.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text, tags text[] NOT NULL)")
    run(lab.target, strict, documented("target-schemas") + documented("target-tables"))
    run(lab.target, strict, "REVOKE CREATE ON SCHEMA public FROM headrace")
    strict.apply(
        source=LOGIN,
        target=LOGIN,
        tables=["public.customers"],
        create_target=False,
        names={"publication": "headrace"},
    )
    strict.src.execute("UPDATE customers SET name = name || 'x' WHERE id % 3 = 0")
    strict.settle("customers")
    strict.tgt.execute("UPDATE customers SET name = 'damaged' WHERE id < 20")
    strict.cli("verify", strict.name, "--repair")
    strict.tgt.execute("DELETE FROM customers WHERE id % 2 = 0")
    strict.cli("resync", strict.name, "public.customers")
    strict.src.execute("DELETE FROM customers WHERE id % 10 = 1")
    strict.settle("customers")
    strict.src.execute("TRUNCATE customers")
    strict.src.execute("INSERT INTO customers VALUES (1, 'again', '{}')")
    strict.settle("customers")


LIMITS = """
ALTER ROLE headrace SET statement_timeout = '300ms';
ALTER ROLE headrace SET lock_timeout = '50ms';
ALTER ROLE headrace SET idle_in_transaction_session_timeout = '500ms';
ALTER ROLE headrace SET idle_session_timeout = '500ms';
ALTER ROLE headrace SET transaction_timeout = '1s';
ALTER ROLE headrace SET default_transaction_isolation = 'serializable';
ALTER ROLE headrace SET default_transaction_read_only = on;
ALTER ROLE headrace SET search_path = 'nowhere';
ALTER ROLE headrace SET datestyle = 'SQL, DMY';
ALTER ROLE headrace SET timezone = 'Asia/Kathmandu';
ALTER ROLE headrace SET bytea_output = 'escape';
ALTER ROLE headrace SET intervalstyle = 'sql_standard';
ALTER ROLE headrace SET extra_float_digits = -3;
ALTER ROLE headrace SET array_nulls = off;
ALTER ROLE headrace SET standard_conforming_strings = off
"""


def test_limits_of_a_role_are_for_people(lab: Lab, strict: Pair) -> None:
    run(lab.source, strict, documented("source"))
    run(lab.target, strict, documented("target"))
    for server in (lab.source, lab.target):
        run(server, strict, LIMITS)
    strict.src.execute(
        "CREATE TABLE wide (id int PRIMARY KEY, b bytea, at timestamptz, v text, i interval, f float8, a text[])"
    )
    strict.src.execute("ALTER TABLE wide OWNER TO shop_owner")
    strict.src.execute(
        "INSERT INTO wide SELECT i, 'ab' || sha256(i::text::bytea), now(), repeat('\\', i % 9),"
        " make_interval(months => i, days => -i, secs => i / 7.0), 1 / i::float8, ARRAY[NULL, 'NULL']"
        " FROM generate_series(1, 30000) i"
    )
    # The snapshot is held for longer than any of the limits.
    strict.apply(source=LOGIN, target=LOGIN, load={"rows_per_second": 8000})
    strict.src.execute("UPDATE wide SET v = v || 'x', at = now()")
    strict.settle(*NAMES, "wide")
    assert strict.cli("verify", strict.name)["equal"] is True
    runs = lab.api("GET", f"/pipelines/{strict.name}/runs").json()["items"]
    assert [r["status"] for r in runs] == ["completed"]
    for word in ("timeout", "serializ", "read-only"):
        assert strict.lines(word) == []
