"""PostgreSQL's own logical replication."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.ground import Ends, Ground, until

NAME = "native logical replication"
PUBLICATION = "bench"
SUBSCRIPTION = "bench"


@contextmanager
def publication(ground: Ground, source: str, table: str) -> Iterator[None]:
    """A publication of one table while the block runs."""
    ground.sql(ground.source, source, f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {table}")
    try:
        yield
    finally:
        ground.sql(ground.source, source, f"DROP PUBLICATION {PUBLICATION}")


@contextmanager
def subscription(ground: Ground, ends: Ends) -> Iterator[None]:
    """A subscription with initial copy, begun when the block begins; dropped with its slot afterwards."""
    conninfo = ground.source.conninfo_of(ends.source)
    ground.sql(
        ground.target,
        ends.target,
        f"CREATE SUBSCRIPTION {SUBSCRIPTION} CONNECTION '{conninfo}' PUBLICATION {PUBLICATION}",
    )
    try:
        yield
    finally:
        ground.sql(ground.target, ends.target, f"DROP SUBSCRIPTION {SUBSCRIPTION}")


def copied(ground: Ground, ends: Ends) -> None:
    """Wait until the initial copy is committed."""
    with psycopg.connect(ground.target.conninfo_of(ends.target), autocommit=True) as conn:
        until(
            lambda: (
                conn.execute(
                    "SELECT count(*) > 0 AND bool_and(srsubstate IN ('f', 's', 'r')) FROM pg_subscription_rel"
                ).fetchone()
                == (True,)
            ),
            3600,
            "the initial copy",
        )


def disable(ground: Ground, ends: Ends) -> None:
    """Stop applying; returns when the walsender is gone."""
    ground.sql(ground.target, ends.target, f"ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE")
    until(
        lambda: (
            not ground.sql(
                ground.source,
                ends.source,
                "SELECT 1 FROM pg_replication_slots WHERE active AND database = current_database()",
            )
        ),
        60,
        "the end of the walsender",
    )


def enable(ground: Ground, ends: Ends) -> None:
    """Apply again."""
    ground.sql(ground.target, ends.target, f"ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE")
