"""A table that another pipeline writes is refused, whatever installation that is of and however it says the server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from headrace.checks import log
from headrace.control.preflight import inspect
from headrace.engines.model import Progress, TableName
from headrace.engines.postgres import progress
from headrace.engines.postgres.connection import Login, connect
from headrace.errors import Finding
from headrace.local.postgres import PostgresServer
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec

T = TableName("public", "t")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """Without Kafka and Connect, which have checks of their own."""
    monkeypatch.setattr(log, "kafka", lambda *_: [])
    monkeypatch.setattr(log, "connect", lambda *_: [])
    with PostgresServer(version="18", fsync=False) as pg:
        with psycopg.connect(pg.conninfo, autocommit=True) as conn:
            conn.execute("CREATE DATABASE goal")
            conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
        yield pg


def errors(server: PostgresServer, pipeline: str, target: str = "public.t", **more: str) -> list[Finding]:
    """Preflight's errors for a pipeline of that name, which comes to the target by another name of its host."""

    def connection(database: str, host: str, **more: str) -> ConnectionSpec:
        given = {
            "engine": "postgres",
            "host": host,
            "port": server.port,
            "database": database,
            "tls": "disable",
        }
        return ConnectionSpec.model_validate({"user": "postgres", "password": "postgres", **given, **more})

    tables = [{"name": "public.t", "target": target}]
    spec = PipelineSpec.model_validate({"source": "s", "target": "t", "tables": tables})
    found = inspect(
        Settings("unused", connect_plain_secrets=True),  # type: ignore[arg-type]
        pipeline,
        spec,
        connection("postgres", "127.0.0.1"),
        connection("goal", "localhost", **more),
    ).findings
    return [f for f in found if f.severity == "error"]


def test_progress_of_another_pipeline(server: PostgresServer) -> None:
    assert errors(server, "second") == []
    with connect(Login("127.0.0.1", "goal", "postgres", "postgres", server.port)) as conn:
        progress.install(conn)
        progress.put(conn, Progress("first", "g", "topic", T, T))
    (finding,) = errors(server, "second")
    assert (finding.code, finding.side, finding.subject) == ("target_written", "target", "public.t")
    assert "first" in finding.message
    assert finding.guidance
    assert errors(server, "first") == []
    assert errors(server, "second", target="copy.t") == []
    with psycopg.connect(server.conninfo_of("goal"), autocommit=True) as conn:
        conn.execute((finding.fix or "").encode())
    assert errors(server, "second") == []


def test_progress_that_may_not_be_read(server: PostgresServer) -> None:
    with connect(Login("127.0.0.1", "goal", "postgres", "postgres", server.port)) as conn:
        progress.install(conn)
        conn.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT CREATE ON SCHEMA public TO weak")
    found = errors(server, "second", user="weak", password="weak")
    assert [f.code for f in found] == ["progress_schema"]
