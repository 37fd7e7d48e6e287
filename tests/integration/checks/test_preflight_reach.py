"""A side that cannot be reached: told by its own code, with what to do, and both sides at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace.checks import log
from headrace.control.preflight import inspect
from headrace.errors import Finding, HeadraceError
from headrace.local.postgres import PostgresServer
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec

WRONG: dict[str, dict[str, Any]] = {
    "wrong_password": {"password": "wrong"},
    "unknown_host": {"host": "nohost.invalid"},
    "refused": {"port": 1},
    "tls": {"tls": "require"},
    "no_such_database": {"database": "nothere"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(version="18", fsync=False) as pg:
        with psycopg.connect(pg.conninfo, autocommit=True) as conn:
            conn.execute("CREATE DATABASE goal")
            conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
        yield pg


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka and Connect, which have checks of their own."""
    monkeypatch.setattr(log, "kafka", lambda *_: [])
    monkeypatch.setattr(log, "connect", lambda *_: [])


def errors(server: PostgresServer, source: dict[str, Any], target: dict[str, Any]) -> list[Finding]:
    def connection(database: str, changes: dict[str, Any]) -> ConnectionSpec:
        given = {"engine": "postgres", "host": "127.0.0.1", "port": server.port, "tls": "disable"}
        login = {"database": database, "user": "postgres", "password": server.password}
        return ConnectionSpec.model_validate({**given, **login, **changes})

    spec = PipelineSpec.model_validate({"source": "s", "target": "t"})
    sides = connection("postgres", source), connection("goal", target)
    return [
        f
        for f in inspect(Settings(Path("unused"), connect_plain_secrets=True), "p", spec, *sides).findings
        if f.severity == "error"
    ]


@pytest.mark.parametrize("code", WRONG)
def test_target(server: PostgresServer, code: str) -> None:
    (finding,) = errors(server, {}, WRONG[code])
    assert (finding.code, finding.side) == (code, "target")
    assert finding.guidance
    assert "\n" not in finding.message


@pytest.mark.parametrize("code", WRONG)
def test_source(server: PostgresServer, code: str) -> None:
    with pytest.raises(HeadraceError) as raised:
        errors(server, WRONG[code], {})
    assert raised.value.code == code
    assert raised.value.guidance


def test_both(server: PostgresServer) -> None:
    found = errors(server, WRONG["wrong_password"], WRONG["refused"])
    assert [(f.side, f.code) for f in found] == [("source", "wrong_password"), ("target", "refused")]
