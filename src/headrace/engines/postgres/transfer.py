"""Passing a range of rows from one PostgreSQL to another, as COPY hands them out."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from headrace.engines.model import Route, TableName
from headrace.engines.postgres import read
from headrace.engines.postgres.connection import Connection
from headrace.errors import Conflict


def copy_range(
    source: Connection,
    target: Connection,
    route: Route,
    part: read.Range,
    into: TableName,
    stop: Callable[[], bool],
) -> int:
    """Copy one range into a table, inside the target's open transaction; rows written.

    Raises Conflict ``stopped`` when ``stop`` asks to.
    """
    binary = read.binary_safe(route)
    statement = sql.SQL("COPY {} ({}) FROM STDIN{}").format(
        sql.Identifier(into.schema, into.name),
        sql.SQL(", ").join(sql.Identifier(m.target) for m in route.written),
        sql.SQL(" (FORMAT BINARY)" if binary else ""),
    )
    with target.cursor() as cursor:
        with cursor.copy(statement) as sink:
            for block in read.copy_out(source, read.select(route, part), binary):
                if stop():
                    raise Conflict("stopped", "the load was stopped")
                sink.write(block)
        return cursor.rowcount
