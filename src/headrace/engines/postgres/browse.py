"""Looking around on a server: its databases, and the first rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from headrace.engines.model import Table
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.masks import mask_expression

# A value is looked at, not exported.
VALUE_CHARACTERS = 1000


def databases(conn: Connection) -> list[str]:
    """Databases that this user may connect to."""
    query = (
        "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
        " AND has_database_privilege(datname, 'CONNECT') ORDER BY datname"
    )
    return [str(row[0]) for row in conn.execute(query)]


def preview(conn: Connection, table: Table, limit: int, masks: Mapping[str, str]) -> list[list[Any]]:
    """The first rows, each value as text of at most ``VALUE_CHARACTERS``, masked where ``masks`` says so.

    masks: column -> mask; a masked value never leaves the server.
    """
    columns = [
        sql.SQL("left(({})::text, {})").format(
            sql.SQL(mask_expression(sql.Identifier(c.name).as_string(conn), masks.get(c.name), c)),
            VALUE_CHARACTERS,
        )
        for c in table.columns
    ]
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
        sql.SQL(", ").join(columns) or sql.SQL("NULL"),
        sql.Identifier(table.name.schema, table.name.name),
        limit,
    )
    return [list(row) for row in conn.execute(query)]
