"""A commit that is in the log but not visible yet: it waits for a synchronous standby of the source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from support.lab import CANARY, Pair, dsn, until


@contextmanager
def standby_missing(pair: Pair) -> Iterator[None]:
    """Commits with synchronous_commit = on wait for a standby that is not there; ours and Headrace's do not."""
    pair.src.execute(f"ALTER DATABASE {pair.name} SET synchronous_commit = local".encode())
    pair.src.execute("SET synchronous_commit = local")
    pair.src.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    pair.src.execute("SELECT pg_reload_conf()")
    until(lambda: pair.src.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",))
    try:
        yield
    finally:
        pair.src.execute("ALTER SYSTEM RESET synchronous_standby_names")
        pair.src.execute("SELECT pg_reload_conf()")


def waits(pair: Pair) -> bool:
    """Whether a commit waits for the standby."""
    found = pair.src.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone()
    return found is not None


def test_values_read_by_key_are_not_older_than_their_commit(pair: Pair) -> None:
    pair.src.execute("CREATE TABLE listed (id int PRIMARY KEY, v int, l int[])")
    pair.src.execute("INSERT INTO listed SELECT i, 0, '{0}' FROM generate_series(1, 5) i")
    pair.src.execute(CANARY)
    pair.apply()

    def write() -> None:
        with psycopg.connect(dsn(pair.lab.source, pair.name), autocommit=True) as conn:
            conn.execute("SET synchronous_commit = on")
            conn.execute(
                "WITH changed AS (UPDATE listed SET v = 1, l = '{1}' WHERE id < 4), "
                "gone AS (DELETE FROM listed WHERE id = 5) INSERT INTO listed VALUES (6, 1, '{1}')"
            )

    writer = threading.Thread(target=write)
    with standby_missing(pair):
        writer.start()
        until(lambda: waits(pair), 20, "a commit that waits")
        # The log is past it once a later change of another table is applied, or the commit is seen to be waited for.
        row = pair.src.execute("INSERT INTO canary DEFAULT VALUES RETURNING id").fetchone()
        assert row is not None
        until(
            lambda: pair._has_canary(row[0]) or pair.lines("not visible yet"),
            60,
            "the stream to come past it",
        )
        until(lambda: applied(pair) or pair.lines("not visible yet"), 60, "the change itself")
    writer.join(30)
    pair.canary()
    pair.equal("listed")


def applied(pair: Pair) -> bool:
    """Whether the change has been applied in part."""
    return pair.tgt.execute("SELECT 1 FROM listed WHERE id = 5").fetchone() is None
