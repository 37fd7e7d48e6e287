"""A quiet database must not hold back the log of a server on which others write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from support.lab import CANARY, Lab, Pair, until

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


def one(pair: Pair, query: str) -> tuple[int, ...]:
    """The one row of a query on the source."""
    row = pair.src.execute(query.encode()).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


@pytest.mark.parametrize("megabytes", [60, pytest.param(2000, marks=pytest.mark.full, id="full")])
def test_quiet_database_holds_back_no_wal(lab: Lab, pair: Pair, megabytes: int) -> None:
    pair.src.execute(CANARY)
    pair.apply()
    position = "SELECT pg_current_wal_lsn() - '0/0'"
    slot = (
        "SELECT confirmed_flush_lsn - '0/0', pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots"
        " WHERE database = current_database()"
    )
    with noisy(lab, f"{pair.name}_noise") as name, psycopg.connect(lab.source.conninfo_of(name)) as other:
        start = one(pair, position)[0]
        other.execute("CREATE TABLE noise (t text)")
        while one(pair, position)[0] < start + megabytes * MB:
            other.execute("INSERT INTO noise SELECT repeat(md5(i::text), 30) FROM generate_series(1, 5000) i")
            other.commit()
        middle = one(pair, position)[0]
        until(lambda: one(pair, slot)[0] >= middle, 60, "the slot to follow")
        until(lambda: one(pair, slot)[1] < 16 * MB, 180, "the log to be let go")
    pair.canary()
