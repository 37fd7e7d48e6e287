"""A worker that cannot use its own store for a while goes on applying, and needs nobody's help afterwards."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from headrace.local.postgres import PostgresServer
from support.lab import CANARY, Lab, Pair, until

# Of a lease of 15 seconds, which is renewed every five.
AWAY_ROWS = 12


def test_rows_are_applied_while_the_metadata_is_away(lab: Lab) -> None:
    log = lab.stack.settings.data / "worker.log"
    before = log.stat().st_size
    with (
        PostgresServer(version="18", fsync=False) as metadata,
        lab.elsewhere(HEADRACE_DATABASE_URL=url(metadata)),
        lab.pair("CREATE TABLE one (id int PRIMARY KEY)") as pair,
    ):
        pair.src.execute(CANARY)
        pair.apply()
        metadata.service.stop()
        for number in range(AWAY_ROWS):
            pair.src.execute("INSERT INTO one VALUES (%s)", [number])
            until(lambda: pair.rows(pair.tgt, "one")[0] > number, 5, f"row {number}")  # noqa: B023
            time.sleep(0.5)
        metadata.service.start()
        pair.canary()
        pair.settle("one")
        until(lambda: pair.status()["error"] is None, 30, "no error")
    assert b"Traceback" not in log.read_bytes()[before:]


def url(server: PostgresServer) -> str:
    """Where the metadata is."""
    return f"postgresql://postgres:{server.password}@127.0.0.1:{server.port}/postgres"


def test_a_worker_that_is_given_the_key_late_goes_on_by_itself(lab: Lab, pair: Pair) -> None:
    pair.src.execute("CREATE TABLE one (id int PRIMARY KEY)")
    pair.src.execute(CANARY)
    pair.apply()
    with closing(sqlite3.connect(lab.stack.settings.data / "headrace.db", timeout=30)) as metadata:
        metadata.isolation_level = None
        which = f"{pair.name}-s"
        (sealed,) = metadata.execute("SELECT secrets FROM connections WHERE name = ?", [which]).fetchone()
        another = "gAAAAABnb25lb2ZvdXJrZXlz"
        metadata.execute("UPDATE connections SET secrets = ? WHERE name = ?", [another, which])
        until(lambda: (pair.status()["error"] or {}).get("code") == "secret_key", 30, "the error")
        metadata.execute("UPDATE connections SET secrets = ? WHERE name = ?", [sealed, which])
    until(lambda: pair.status()["error"] is None, 30, "no error")
    pair.canary()
