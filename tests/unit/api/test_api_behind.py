"""What is told of a real database behind a connection: validation, columns, previews."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

_TABLES = """
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE SCHEMA crm;
CREATE TABLE crm.customers (id int PRIMARY KEY, since date);
CREATE TABLE crm."Odd.Name" (id int PRIMARY KEY);
CREATE TABLE crm.full (id int PRIMARY KEY);
INSERT INTO crm.full VALUES (1);
INSERT INTO customers VALUES (7, 'a@example.org');
CREATE ROLE guest LOGIN PASSWORD 'guest';
"""


@pytest.fixture(scope="module")
def place(fresh_url: Callable[..., str]) -> Iterator[dict[str, Any]]:
    """A connection to a database with some tables, as a body."""
    url = fresh_url("template0")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(_TABLES)
    at = conninfo_to_dict(url)
    yield {
        "engine": "postgres",
        "host": at["host"],
        "port": int(str(at["port"])),
        "database": at["dbname"],
        "user": at["user"],
        "password": at["password"],
    }
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP ROLE guest")


@pytest.fixture
def shop(api: httpx.Client, place: dict[str, Any]) -> dict[str, Any]:
    """The connection, stored as ``shop``."""
    assert api.post("connections", json={"name": "shop", **place}).status_code == 201
    return place


def findings(api: httpx.Client, body: dict[str, Any]) -> tuple[bool, set[tuple[str, str, str | None]]]:
    """Whether a target is well, and the code, severity and subject of what is said of it."""
    answer = api.post("validate/destination", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return told["ok"], {(f["code"], f["severity"], f["subject"]) for f in told["findings"]}


def test_a_target_is_validated_without_a_source(api: httpx.Client, shop: dict[str, Any]) -> None:
    assert findings(api, {"connection": "shop"}) == (True, set())
    assert findings(api, shop) == (True, set())
    assert findings(api, {"connection": "shop", "tables": ["new.one", "crm.*", "*.*"]}) == (True, set())
    assert findings(api, {"connection": {**shop, "port": 1}}) == (False, {("refused", "error", None)})


def test_tables_that_a_target_has_already(api: httpx.Client, shop: dict[str, Any]) -> None:
    ok, found = findings(api, {"connection": "shop", "tables": ["crm.full", "crm.customers"]})
    assert (ok, found) == (False, {("target_not_empty", "error", "crm.full")})
    _, found = findings(api, {"connection": "shop", "tables": ["a.b", "a.b"]})
    assert found == {("target_collision", "error", "a.b")}
    _, found = findings(api, {"connection": "shop", "tables": ["a.b", "crm.full"], "mode": "cdc_only"})
    assert found == {("target_missing", "error", "a.b")}


def test_a_target_that_one_may_not_write_to(api: httpx.Client, shop: dict[str, Any]) -> None:
    guest = {**shop, "user": "guest", "password": "guest"}
    ok, found = findings(api, {"connection": guest})
    assert not ok
    assert {("target_create", "error", shop["database"]), ("progress_schema", "error", "headrace")} <= found
    for tables in (["crm.*"], ["crm.new"]):
        assert ("target_create", "error", "crm") in findings(api, {"connection": guest, "tables": tables})[1]


def test_a_source_is_validated_as_before(api: httpx.Client, shop: dict[str, Any]) -> None:
    told = api.post("validate/source", json={"connection": "shop", "tables": ["public.nope"]}).json()
    assert [f["code"] for f in told["findings"]] == ["table_not_found"]
    told = api.post("validate/source", json={"connection": "shop", "mode": "full_load_only"}).json()
    assert told["ok"], told
