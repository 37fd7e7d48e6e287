"""What is stored to be used is not read back: a secret that nobody sends anew stays at its place, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from api_server import BOTH, Running
from sqlalchemy import update

from headrace.local.postgres import PostgresServer
from headrace.secrecy import MASK
from headrace.spec.models import PipelineSpec, TableSpec
from headrace.store.schema import connections

pytestmark = BOTH
SHOP = {
    "engine": "postgres",
    "host": "h",
    "database": "d",
    "user": "u",
    "password": "hunter2",
    "tls": "require",
}
MAIL = {
    "host": "smtp.example.org",
    "port": 587,
    "tls": "starttls",
    "user": "alerts",
    "password": "hunter2",
    "sender": "a@example.org",
    "recipients": ["b@example.org"],
}
HOOK = {"name": "c", "kind": "webhook", "url": "https://example.org/hook", "signing_key": "hunter2"}
REFERENCE = "${env:SHOP_PASSWORD}"


def refused(answer: httpx.Response, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json().get("code")) == (422, code), answer.text
    context: dict[str, Any] = answer.json()["context"]
    return context


@pytest.mark.parametrize("sent", [{"password": MASK}, {}, {"password": REFERENCE}])
@pytest.mark.parametrize(
    "elsewhere",
    [{"host": "x"}, {"port": 1}, {"user": "x"}, {"tls": "prefer"}, {"database": "d?PGHOST=x"}],
    ids=str,
)
def test_a_password_that_is_not_sent_goes_nowhere_else(
    running: Running, api: httpx.Client, sent: dict[str, str], elsewhere: dict[str, Any]
) -> None:
    made = api.post("connections", json={"name": "a", **SHOP, "references": {"password": REFERENCE}})
    without = {k: v for k, v in SHOP.items() if k != "password"}
    context = refused(api.put("connections/a", json={**without, **sent, **elsewhere}), "secret_needed")
    assert context == {"changed": list(elsewhere), "secrets": ["password"]}
    assert api.get("connections/a").json() == made.json()
    # To the same place, over a better line, it may stay; with it, everything may change.
    same = {"database": "e", "tls": "verify-full"}
    assert api.put("connections/a", json={**without, **sent, **same}).json()["password"] == REFERENCE
    assert api.put("connections/a", json={**SHOP, **elsewhere}).status_code == 200
    assert running.store.connection("a").spec.password.get_secret_value() == "hunter2"


def test_without_a_password_there_is_nothing_to_keep(api: httpx.Client) -> None:
    without = {k: v for k, v in SHOP.items() if k != "password"}
    assert api.post("connections", json={"name": "a", **without}).status_code == 201
    assert api.put("connections/a", json={**without, "host": "x"}).json()["host"] == "x"


def test_an_authority_that_was_trusted_is_not_replaced(api: httpx.Client) -> None:
    assert api.post("connections", json={"name": "a", **SHOP, "ca": "/ca"}).status_code == 201
    for other in ({}, {"ca": "/other"}):
        refused(api.put("connections/a", json={**SHOP, "password": MASK, **other}), "secret_needed")


@pytest.mark.parametrize(
    "elsewhere", [{"host": "127.0.0.1"}, {"port": 25}, {"tls": "none"}, {"user": "x"}], ids=str
)
def test_the_password_of_a_channel_goes_nowhere_else(
    running: Running, api: httpx.Client, elsewhere: dict[str, Any]
) -> None:
    mail = {"name": "c", "kind": "email"}
    assert api.post("alerts/channels", json={**mail, "email": MAIL}).status_code == 201
    moved = {**mail, "email": {**MAIL, "password": MASK, **elsewhere}}
    context = refused(api.put("alerts/channels/c", json=moved), "secret_needed")
    assert context == {"changed": list(elsewhere), "secrets": ["password"]}
    same = {**mail, "email": {**MAIL, "password": MASK, "recipients": ["c@example.org"]}}
    assert api.put("alerts/channels/c", json=same).status_code == 200
    assert running.store.alert_channel("c").secrets == {"password": "hunter2"}
    assert api.put("alerts/channels/c", json={**mail, "email": {**MAIL, **elsewhere}}).status_code == 200


def test_the_key_of_a_hook_goes_nowhere_else(running: Running, api: httpx.Client) -> None:
    assert api.post("alerts/channels", json=HOOK).status_code == 201
    moved = {**HOOK, "url": "https://other.example.org", "signing_key": MASK}
    assert refused(api.put("alerts/channels/c", json=moved), "secret_needed")["changed"] == ["url"]
    slack = {"name": "c", "kind": "slack", "url": MASK}
    assert refused(api.put("alerts/channels/c", json=slack), "secret_needed")["changed"] == ["kind"]
    same = {**HOOK, "url": MASK, "signing_key": MASK, "name": "renamed"}
    assert api.put("alerts/channels/c", json=same).json()["name"] == "renamed"
    kept = running.store.alert_channel("renamed").secrets
    assert kept == {"url": HOOK["url"], "signing_key": "hunter2"}


@pytest.mark.parametrize(
    "bad", [{"port": "abc"}, {"host": "prod-db"}, {"password": "word"}, {"id": REFERENCE}, {"x": "y"}]
)
def test_references_are_references_to_fields(api: httpx.Client, bad: dict[str, str]) -> None:
    context = refused(api.post("connections", json={"name": "a", **SHOP, "references": bad}), "bad_reference")
    assert context == {"field": next(iter(bad))}
    assert api.get("connections").json()["total"] == 0


def test_only_a_secret_is_shown_as_its_reference(running: Running, api: httpx.Client) -> None:
    given = {"host": "${env:SHOP_HOST}", "user": "u-${env:X}", "password": REFERENCE}
    shown = api.post("connections", json={"name": "a", **SHOP, "references": given}).json()
    assert (shown["host"], shown["user"], shown["password"]) == ("h", "u", REFERENCE)
    (audit,) = running.store.audits()[0]
    assert audit.new is not None
    assert (audit.new["host"], audit.new["password"]) == ("h", REFERENCE)
    # What stands beside a reference may be a part of the secret.
    part = {"references": {"password": f"hunt{REFERENCE}"}}
    assert api.post("connections", json={"name": "b", **SHOP, **part}).json()["password"] == MASK
    applied = {"connections": {"c": SHOP}, "references": {"c": given}, "start": False}
    assert [api.post("apply", json=applied).status_code for _ in "12"] == [200, 200]
    known = api.get("connections/c").json()
    assert (known["host"], known["password"], known["version"]) == ("h", REFERENCE, 1)


def test_what_older_releases_stored_can_be_read_and_mended(running: Running, api: httpx.Client) -> None:
    assert api.post("connections", json={"name": "a", **SHOP}).status_code == 201
    older = {
        "secret_references": {"port": "abc", "tls": "x", "host": "prod-db"},
        "host": "/var/run/postgresql",
    }
    with running.store._writing() as transaction:
        transaction.execute(update(connections).values(**older))
    listed = api.get("connections")
    assert [c["host"] for c in listed.json()["items"]] == ["/var/run/postgresql"], listed.text
    assert api.put("connections/a", json=SHOP).json()["host"] == "h"


@pytest.mark.parametrize(
    "host",
    [
        "/tmp",
        "@abstract",
        "postgresql://u:p@h/d",
        "u@h",
        "h/x",
        "h, /tmp",
        "a b",
        "h\n",
        "h\x1b",
        "h?x=y",
        "",
    ],
)
def test_a_host_is_a_server(api: httpx.Client, host: str) -> None:
    body = {"name": "a", **SHOP, "host": host}
    (problem,) = refused(api.post("connections", json=body), "invalid_spec")["problems"]
    assert (problem["path"], problem["code"]) == ("host", "bad_host" if host else "bad_value")
    answer = api.post("discovery/discover", json={"connection": {**SHOP, "host": host}})
    refused(answer, "invalid_spec")


@pytest.mark.parametrize("host", ["db", "db1.internal", "10.0.0.7", "::1", "fe80::1%eth0", "bücher.example"])
def test_hosts(api: httpx.Client, host: str) -> None:
    assert api.post("connections", json={"name": "a", **SHOP, "host": host}).json()["host"] == host


def test_of_many_who_make_one_connection_at_once_one_does(running: Running, api: httpx.Client) -> None:
    for n in range(5):

        def make(caller: int, name: str = f"race-{n}") -> httpx.Response:
            return api.post("connections", json={"name": name, **SHOP, "host": f"h{caller}"})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(make, range(8)))
        assert sorted(a.status_code for a in answers) == [201, *[409] * 7]
        assert {a.json()["code"] for a in answers if a.status_code == 409} == {"exists_already"}
        (made,) = (a.json() for a in answers if a.status_code == 201)
        assert api.get(f"connections/race-{n}").json() == made
    assert [a.action for a in running.store.audits()[0]] == ["created"] * 5


def test_of_many_who_make_one_pipeline_at_once_one_does(running: Running, api: httpx.Client) -> None:
    for n in range(5):

        def make(caller: int, name: str = f"race-{n}") -> httpx.Response:
            ends = {end: {**SHOP, "database": f"{end}{caller}"} for end in ("source", "target")}
            return api.post("pipelines", json={"name": name, **ends})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(make, range(8)))
        assert sorted(a.status_code for a in answers) == [201, *[409] * 7], [a.text for a in answers]
        (made,) = (a.json() for a in answers if a.status_code == 201)
        assert api.get(f"connections/race-{n}-source").json()["database"] == made["source_database"]
        assert api.get(f"pipelines/race-{n}").json() == made
    assert [a.entity_type for a in running.store.audits()[0]].count("pipeline") == 5


def test_a_mask_holds_by_whatever_connection_its_table_is_read(
    running: Running, api: httpx.Client, metadata_server: PostgresServer, fresh_url: Callable[..., str]
) -> None:
    masked, open_ = (fresh_url("template0").rpartition("/")[2] for _ in "12")
    for database in (masked, open_):
        conninfo = psycopg.conninfo.make_conninfo(metadata_server.conninfo, dbname=database)
        with psycopg.connect(conninfo, autocommit=True) as conn:
            conn.execute("CREATE TABLE users (email text)")
            conn.execute("INSERT INTO users VALUES ('ann@example.org')")
    there = {"host": "127.0.0.1", "port": metadata_server.port, "user": "postgres"}
    there |= {"password": metadata_server.password, "tls": "disable"}
    for name, database in (("shop", masked), ("same", masked), ("other", open_)):
        body = {**SHOP, **there, "name": name, "database": database}
        assert api.post("connections", json=body).status_code == 201
    wanted = TableSpec(name="public.users", mask={"email": "redact"})
    running.store.put_pipeline("p", PipelineSpec(source="shop", target="other", tables=(wanted,)))

    def seen(name: str, **database: str) -> bool:
        asked = {"table": "public.users", **database}
        answer = api.get(f"schemas/{name}/preview", params=asked)
        assert answer.json()["columns"][0]["masked"] == ("ann@" not in answer.text), answer.text
        return "ann@" in answer.text

    assert not any((seen("shop"), seen("same"), seen("other", database=masked)))
    assert all((seen("other"), seen("shop", database=open_), seen("same", database=open_)))
