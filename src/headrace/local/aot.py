"""Ahead-of-time caches of the two Java programs: made once per cache folder, they halve start-up.

A private Kafka and Connect start with recording on, capture some rows where a PostgreSQL is at hand, and end; Java
writes the caches at its exit. That takes half a minute and up to 1 GB, so it belongs to ``fetch`` or to an idle
moment, never in front of a start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg

from headrace.errors import Unavailable
from headrace.local.artifacts import cache_folder
from headrace.local.jvm import aot_cache
from headrace.local.pgbinaries import wheel_home
from headrace.local.postgres import PostgresServer
from headrace.local.process import pause
from headrace.local.stack import Stack

PROGRAMS = ("kafka", "connect")
BATCHES, ROWS = 200, 100
PATIENCE_SECONDS = 30
KEEP_SECONDS = 30 * 86400
NAME = "training"
CONNECTOR = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "name": NAME,
    "tasks.max": "1",
    "topic.prefix": NAME,
    "plugin.name": "pgoutput",
    "slot.name": NAME,
    "publication.name": NAME,
    "publication.autocreate.mode": "disabled",
    "snapshot.mode": "no_data",
    "poll.interval.ms": "10",
    "time.precision.mode": "isostring",
    "decimal.handling.mode": "string",
    "topic.creation.default.replication.factor": "1",
    "topic.creation.default.partitions": "1",
}


def trained() -> bool:
    """Whether every cache is there."""
    return all(aot_cache(name).exists() for name in PROGRAMS)


def train() -> bool:
    """Make the caches that are missing; false when another process is at it. Unavailable when the engine fails."""
    folder = cache_folder() / "aot"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not trained():
            _record(folder / f".{os.getpid()}")
    return True


def _record(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with Stack(record={name: scratch / name for name in PROGRAMS}) as stack:
            if wheel_home():
                with PostgresServer(fsync=False) as postgres:
                    _capture(stack.settings.connect, postgres)
        _forget_old(scratch.parent)
        for name in PROGRAMS:
            (scratch / name).replace(aot_cache(name))
    except FileNotFoundError as error:
        raise Unavailable(
            "aot_training", "Java wrote no ahead-of-time cache.", "Starts stay slower; nothing else is lost."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _forget_old(folder: Path) -> None:
    """Caches of Java runtimes and Kafkas of the past; one still in use elsewhere is made again."""
    for file in folder.glob("*.aot"):
        if file.stat().st_mtime < time.time() - KEEP_SECONDS:
            file.unlink(missing_ok=True)


def _capture(connect: str, postgres: PostgresServer) -> None:
    """Stream rows through Debezium, the JSON converter and a transactional producer, the paths that will be hot."""
    with (
        psycopg.connect(postgres.conninfo, autocommit=True) as db,
        httpx.Client(base_url=connect, timeout=60, trust_env=False) as client,
    ):
        db.execute(
            "CREATE TABLE t (id bigserial PRIMARY KEY, n numeric, s text, at timestamptz, j jsonb, b bytea)"
        )
        db.execute(f"CREATE PUBLICATION {NAME} FOR TABLE t")
        config = CONNECTOR | {
            "database.hostname": "127.0.0.1",
            "database.port": str(postgres.port),
            "database.user": "postgres",
            "database.password": postgres.password or "",
            "database.dbname": "postgres",
        }
        client.put(f"/connectors/{NAME}/config", json=config).raise_for_status()
        _until(lambda: _slot(db, "active"))
        for _ in range(BATCHES):
            db.execute(
                "INSERT INTO t (n, s, at, j, b) SELECT i / 7.0, md5(i::text), now(), jsonb_build_object('i', i), "
                "'\\x00ff' FROM generate_series(1, %s) i",
                [ROWS],
            )
        db.execute("UPDATE t SET s = s || 'x'")
        end = db.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        _until(lambda: _slot(db, "confirmed_flush_lsn >= %s::pg_lsn", *(end or ())))
        with contextlib.suppress(httpx.HTTPError):
            client.delete(f"/connectors/{NAME}")


def _slot(db: psycopg.Connection, condition: str, *values: object) -> bool:
    query = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{NAME}' AND {condition}"  # nosec B608  # constants of this module
    return db.execute(query.encode(), values).fetchone() is not None


def _until(reached: Callable[[], bool]) -> None:
    """Wait for a state, but not for ever: a shorter training is no failure."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached() and time.monotonic() < deadline:
        pause(0.2)


def main() -> None:
    """Train behind everything else on the machine; the supervisor starts this beside an idle installation."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    train()


if __name__ == "__main__":
    main()
