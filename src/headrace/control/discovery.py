"""What a connection leads to: logging in, and the tables behind it."""

from __future__ import annotations

import time
from typing import Any

from headrace.control.preflight import login
from headrace.engines.model import Column, Table
from headrace.engines.postgres import catalog
from headrace.engines.postgres.connection import connect, translated
from headrace.spec.models import ConnectionSpec


def test(spec: ConnectionSpec) -> dict[str, Any]:
    """``{"ok", "version", "response_time_ms"}`` of a login; raises what went wrong."""
    began = time.monotonic()
    where = login(spec)
    with connect(where) as conn, translated(where):
        row = conn.execute("SELECT current_setting('server_version')").fetchone()
    took = (time.monotonic() - began) * 1000
    return {"ok": True, "version": row[0] if row else None, "response_time_ms": round(took, 1)}


def tables(spec: ConnectionSpec) -> list[dict[str, Any]]:
    """The tables that can be seen, with columns, keys and estimates of rows and bytes."""
    where = login(spec)
    with connect(where) as conn, translated(where):
        return [_table(table) for table in catalog.describe(conn)]


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": str(table.name),
        "rows": table.rows if table.rows >= 0 else None,
        "bytes": table.bytes if table.bytes >= 0 else None,
        "key": list(table.key),
        "replica_identity": table.replica_identity,
        "partitioned": table.partitioned,
        "columns": [_column(column) for column in table.columns],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "nullable": column.nullable,
        "generated": column.generated is not None,
        "carriage": column.carriage,
    }
