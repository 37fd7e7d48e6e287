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


NAMED = [
    ({"table": "customers"}, "public.customers"),
    ({"table": "public.customers"}, "public.customers"),
    ({"table": '"public"."customers"'}, "public.customers"),
    ({"schema": "public", "table": "customers"}, "public.customers"),
    ({"schema": "public", "table": "public.customers"}, "public.customers"),
    ({"schema": "crm", "table": '"customers"'}, "crm.customers"),
    ({"schema": '"crm"', "table": "Odd.Name"}, 'crm."Odd.Name"'),
    ({"table": 'crm."Odd.Name"'}, 'crm."Odd.Name"'),
]


@pytest.mark.parametrize(("named", "meant"), NAMED)
def test_a_table_is_named_in_either_form(
    api: httpx.Client, shop: dict[str, Any], named: dict[str, str], meant: str
) -> None:
    preview = api.get("schemas/shop/preview", params=named)
    columns = api.get("schemas/shop/columns", params=named)
    assert (preview.status_code, columns.status_code) == (200, 200), (preview.text, columns.text)
    assert preview.json()["table"] == meant
    assert [c["name"] for c in preview.json()["columns"]] == [c["name"] for c in columns.json()["items"]]


@pytest.mark.parametrize("table", ["a.b.c", '"open', "crm.*"])
def test_names_that_are_none(api: httpx.Client, shop: dict[str, Any], table: str) -> None:
    for where in ("preview", "columns"):
        answer = api.get(f"schemas/shop/{where}", params={"table": table})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_name")


def test_the_own_schema_of_a_connection_is_meant(api: httpx.Client, shop: dict[str, Any]) -> None:
    place = {**shop, "schema": "crm", "additional_config": {"application_name": "ours", "keepalives": "1"}}
    kept = api.put("connections/shop", json=place).json()
    assert (kept["schema"], kept["additional_config"]) == ("crm", place["additional_config"])
    assert kept == api.get("connections/shop").json()
    told = api.get("schemas/shop/columns", params={"table": "customers"}).json()["items"]
    assert [c["name"] for c in told] == ["id", "since"]
    seen = api.get("schemas/shop/preview", params={"table": "customers"}).json()
    assert seen["table"] == "crm.customers"
    api.post("connections", json={"name": "goal", **shop, "database": "postgres"})
    spec = {"source": "shop", "target": "goal"}
    assert api.post("pipelines", json={"name": "p", **spec}).json()["spec"]["tables"][0]["name"] == "crm.*"
    every = api.post("pipelines", json={"name": "q", **spec, "tables": ["*.*"]}).json()
    assert [t["name"] for t in every["spec"]["tables"]] == ["*.*"]
    body = {
        "connections": {"shop": place, "goal": {**shop, "database": "postgres"}},
        "pipelines": {"r": spec},
    }
    planned = api.post("plan", json=body).json()["pipelines"][0]["tables"]
    assert {t["source"].split(".")[0] for t in planned} == {"crm"}


def test_further_settings_reach_the_server(api: httpx.Client, shop: dict[str, Any]) -> None:
    place = {**shop, "additional_config": {"target_session_attrs": "standby"}}
    refused = api.post("discovery/discover", json={"connection": place})
    assert refused.status_code == 503, refused.text
    assert "standby" in refused.text


@pytest.mark.parametrize(
    "settings",
    [
        {"options": "-c x=y"}, {"host": "elsewhere"}, {"hostaddr": "10.0.0.1"}, {"service": "x"}, {"passfile": "/etc/passwd"},
        {"connect_timeout": "0"}, {"keepalives": "yes"}, {"application_name": "a\nb"}, {"sslsni": 1},
    ],
)  # fmt: skip
def test_settings_that_a_connection_may_not_have(
    api: httpx.Client, place: dict[str, Any], settings: dict[str, Any]
) -> None:
    answer = api.post("connections", json={"name": "bad", **place, "additional_config": settings})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec"), answer.text
