"""PostgreSQL servers of the demo and the tests."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from headrace.local.pgbinaries import find_psql
from headrace.local.postgres import PostgresServer


def one(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def test_survives_kill_and_takes_new_settings() -> None:
    with PostgresServer() as server:
        assert one(server, "SHOW wal_level") == "logical"
        with psycopg.connect(server.conninfo) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        server.kill()
        assert not server.service.alive
        server.settings["max_wal_senders"] = 7
        server.restart()
        assert one(server, "SHOW max_wal_senders") == "7"
        assert one(server, "SELECT a FROM t") == 1
        folder = server.folder
    assert not folder.exists()


def test_password_is_asked_for() -> None:
    with PostgresServer(fsync=False, password="secret") as server:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.conninfo, password="wrong")
        words = [str(find_psql()), server.conninfo, "-Atc", "SHOW server_encoding"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "UTF8\n"


@pytest.mark.full
@pytest.mark.parametrize("version", ["13", "14", "15", "16", "17", "18"])
def test_every_major(version: str) -> None:
    with PostgresServer(version=version, fsync=False, password=None) as server:
        assert str(one(server, "SHOW server_version")).startswith(version)
        assert one(server, "SELECT slot_name FROM pg_create_logical_replication_slot('s', 'pgoutput')") == "s"
