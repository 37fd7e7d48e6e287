"""One query, all its rows as dictionaries, psycopg's errors translated."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from headrace.engines.postgres.connection import Connection, translated

Row = dict[str, Any]


def rows(conn: Connection, query: str, params: Row | None = None) -> list[Row]:
    """Run it and fetch everything. Without params a ``%`` in the query is a ``%``."""
    with translated(), conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, params).fetchall()
