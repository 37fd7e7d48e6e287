"""A quiet database must not hold back the log of a server on which others write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from support.lab import CANARY, Lab, Pair, pgbench, pgbench_init, until

MB = 1024 * 1024


@contextmanager
def noisy(lab: Lab, name: str) -> Iterator[str]:
    """Another database on the source's server."""
    with psycopg.connect(lab.source.conninfo, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield name
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("megabytes", [60, pytest.param(2000, marks=pytest.mark.full, id="full")])
def test_quiet_database_holds_back_no_wal(lab: Lab, pair: Pair, megabytes: int) -> None:
    pair.src.execute(CANARY)
    pair.apply()
    with noisy(lab, f"{pair.name}_noise") as name:
        pgbench_init(lab.source, name)
        position = "SELECT pg_current_wal_lsn() - '0/0'"
        slot = (
            "SELECT confirmed_flush_lsn - '0/0', pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots"
            " WHERE database = current_database()"
        )
        start = pair.src.execute(position).fetchone()
        assert start is not None
        with pgbench(lab.source, name, clients=2):
            until(
                lambda: pair.src.execute(position).fetchone()[0] > start[0] + megabytes * MB, 300, "the noise"
            )
            middle = pair.src.execute(position).fetchone()
            assert middle is not None
            until(lambda: pair.src.execute(slot).fetchone()[0] >= middle[0], 60, "the slot to follow")
        until(lambda: pair.src.execute(slot).fetchone()[1] < 16 * MB, 60, "the log to be let go")
    pair.canary()
