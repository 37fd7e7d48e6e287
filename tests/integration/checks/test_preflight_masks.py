"""Masks that only a key makes possible are refused before anything is made, not when the table goes live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace.checks import log
from headrace.control.preflight import inspect
from headrace.errors import Finding
from headrace.local.postgres import PostgresServer
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec

SOURCE = """
CREATE TABLE keyless (a int, n numeric, t text, tags text[]);
CREATE TABLE keyed (id int PRIMARY KEY, n numeric, tags text[]);
CREATE TABLE parts (n numeric) PARTITION BY RANGE (n);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(version="18", fsync=False) as pg:
        with psycopg.connect(pg.conninfo, autocommit=True) as conn:
            conn.execute("CREATE DATABASE goal")
            conn.execute(SOURCE)
        yield pg


def found(server: PostgresServer, table: str, mask: dict[str, str], **more: Any) -> list[Finding]:
    """The errors of a pipeline with these masks."""

    def connection(database: str) -> ConnectionSpec:
        return ConnectionSpec.model_validate(
            {"engine": "postgres", "host": "127.0.0.1", "port": server.port, "database": database,
             "user": "postgres", "password": server.password, "tls": "disable"}
        )  # fmt: skip

    columns = {"columns": {"exclude": more.pop("exclude")}} if "exclude" in more else {}
    entry = {"name": f"public.{table}", "mask": mask, **columns}
    spec = PipelineSpec.model_validate({"source": "s", "target": "t", "tables": [entry], **more})
    inspection = inspect(
        Settings(Path("unused"), connect_plain_secrets=True),
        "p",
        spec,
        connection("postgres"),
        connection("goal"),
    )
    return [f for f in inspection.findings if f.severity == "error"]


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka and Connect, which have checks of their own."""
    monkeypatch.setattr(log, "kafka", lambda *_: [])
    monkeypatch.setattr(log, "connect", lambda *_: [])


def test_hash_of_what_events_print_otherwise(server: PostgresServer) -> None:
    (finding,) = found(server, "keyless", {"n": "sha256"}, exclude=["tags"])
    assert (finding.code, finding.side, finding.subject) == ("keyless_type", "spec", "public.keyless")
    assert "n (numeric, sha256)" in finding.message
    assert "redact" in finding.guidance
    assert "PRIMARY KEY" in (finding.fix or "")


def test_partitioned(server: PostgresServer) -> None:
    (finding,) = found(server, "parts", {"n": "sha256"})
    assert (finding.code, finding.fix) == ("keyless_type", None)


@pytest.mark.parametrize("mask", ["sha256", "redact", "null"])
def test_no_mask_makes_up_for_a_missing_key(server: PostgresServer, mask: str) -> None:
    (finding,) = found(server, "keyless", {"tags": mask})
    assert finding.code == "keyless_type"
    assert "tags (text[])" in finding.message


def test_all_of_them_are_told(server: PostgresServer) -> None:
    both = found(server, "keyless", {"tags": "sha256", "n": "sha256"})
    assert [f.code for f in both] == ["keyless_type", "keyless_type"]
    told = " ".join(f.message for f in both)
    assert "tags (text[])" in told
    assert "n (numeric, sha256)" in told


@pytest.mark.parametrize(
    ("table", "mask", "more"),
    [
        ("keyless", {"t": "sha256", "a": "sha256"}, {"exclude": ["tags"]}),
        ("keyless", {"n": "redact"}, {"exclude": ["tags"]}),
        ("keyless", {"n": "null"}, {"exclude": ["tags"]}),
        ("keyless", {"n": "sha256", "tags": "sha256"}, {"mode": "full_load_only"}),
        ("keyed", {"n": "sha256", "tags": "sha256"}, {}),
    ],
)
def test_what_can_be_masked(
    server: PostgresServer, table: str, mask: dict[str, str], more: dict[str, Any]
) -> None:
    assert found(server, table, mask, **more) == []
