"""The target's disk is full: it is said while the pipeline goes on, and once there is room it catches up by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from headrace.local.postgres import PostgresServer
from support.lab import CANARY, Lab, Pair, dsn, until
from support.small_disk import MB, NOBODY, SmallDisk, small_disk

# 300 bytes a row that nothing can compress: 30 MB in 100,000 of them.
TABLES = (
    CANARY
    + """;
CREATE TABLE big (id int PRIMARY KEY, n int DEFAULT 0, body text);
CREATE TABLE keyless (id int, body text);
CREATE FUNCTION noise(i int) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 9) k $$;
"""
)
# What a server says that has no room, dies of it, and is gone.
DYING = ("disk_full", "connection_lost", "server_stopping", "refused")
ROWS = "INSERT INTO {} (id, body) SELECT i, noise(i) FROM generate_series({}, {}) i"


@contextmanager
def aimed_at(lab: Lab, target: PostgresServer, tablespace: str = "pg_default") -> Iterator[Pair]:
    """A pair whose target is a database on that server."""
    with lab.pair(TABLES) as pair:
        with psycopg.connect(target.conninfo, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {pair.name} TABLESPACE {tablespace}".encode())
        connect(pair, target)
        yield pair
        # While its target is still there to be cleared.
        pair.cli("delete", pair.name)


def connect(pair: Pair, target: PostgresServer) -> None:
    """The test's own connection to the target."""
    pair.tgt.close()
    pair.tgt = psycopg.connect(dsn(target, pair.name), autocommit=True)


def apply(pair: Pair, target: PostgresServer) -> None:
    """Start the pipeline towards that server."""
    path = pair.spec(target={"port": target.port, "password": target.password})
    pair.cli("apply", "-f", str(path))


def trouble(pair: Pair, *codes: str) -> dict[str, Any]:
    """Wait until the status shows an error; it must be one of these, with what to do, and nothing be given up."""
    shown = until(lambda: pair.status()["error"], 60, "the trouble to be said")
    assert shown["code"] in codes, (shown, pair.log())
    assert shown["guidance"]
    status = pair.status()
    assert status["status"] == "running"
    assert not [t for t in status["tables"] if t["error"] or t["state"] in ("paused", "error")]
    return dict(shown)


def goes_on(pair: Pair) -> None:
    """Everything arrives, changes made during the trouble too, and the trouble is over."""
    pair.settle("big", "keyless")
    pair.canary()
    until(lambda: pair.status()["error"] is None, 30, "the trouble to be over")
    assert pair.cli("verify", pair.name)["equal"]


def test_tables_on_a_full_disk(lab: Lab) -> None:
    """Only the tables' disk is full: the server lives, and refuses each write that needs room."""
    with small_disk(160) as disk, PostgresServer(fsync=False) as target:
        place = disk.folder / "tablespace"
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
        with psycopg.connect(target.conninfo, autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
        with aimed_at(lab, target, "small") as pair:
            pair.src.execute(ROWS.format("big", 1, 80_000).encode())
            pair.src.execute(ROWS.format("keyless", 1, 2_000).encode())
            disk.fill(leave=10 * MB)
            apply(pair, target)
            said = trouble(pair, "disk_full")
            assert "space" in said["guidance"]
            assert pair.status()["phase"] == "seeding"
            pair.src.execute("UPDATE big SET n = 1 WHERE id % 10 = 0; DELETE FROM keyless WHERE id < 100")
            disk.make_room()
            goes_on(pair)

            disk.fill(leave=1 * MB)
            pair.src.execute(ROWS.format("big", 80_001, 100_000).encode())
            trouble(pair, "disk_full")
            pair.src.execute("UPDATE big SET n = 2 WHERE id % 10 = 1; DELETE FROM keyless WHERE id < 200")
            disk.make_room()
            goes_on(pair)


def test_server_on_a_full_disk(lab: Lab) -> None:
    """The log of the target's server is on the full disk too: it dies, and comes back when there is room."""
    with small_disk(400) as disk:
        # No checkpoint that would let it use files of its log again.
        settings = {"max_wal_size": "10GB", "restart_after_crash": False}
        with PostgresServer(disk.folder / "pg", fsync=False, settings=settings) as target:
            with aimed_at(lab, target) as pair:
                pair.src.execute(ROWS.format("big", 1, 80_000).encode())
                with no_room(pair, target, disk):
                    apply(pair, target)
                goes_on(pair)
                with no_room(pair, target, disk):
                    pair.src.execute(ROWS.format("big", 80_001, 100_000).encode())
                pair.src.execute("UPDATE big SET n = 2 WHERE id % 10 = 1; DELETE FROM big WHERE id < 200")
                goes_on(pair)


@contextmanager
def no_room(pair: Pair, target: PostgresServer, disk: SmallDisk) -> Iterator[None]:
    """What is done in here comes to a full disk, of which the server dies; then there is room, and it is started."""
    disk.fill(leave=4 * MB)
    try:
        yield
        trouble(pair, *DYING)
        with suppress(psycopg.OperationalError):
            for _ in range(200):
                pair.tgt.execute("SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))")
        until(lambda: not target.service.alive, 30, "the server to die")
        trouble(pair, *DYING)
    finally:
        disk.make_room()
        target.start()
    connect(pair, target)
