"""What a connection leads to: logging in, and the tables behind it."""

from __future__ import annotations

import time
from typing import Any

from headrace.control.preflight import login
from headrace.engines.model import Column, Table
from headrace.engines.postgres import catalog
from headrace.engines.postgres.connection import connect, translated
from headrace.errors import HeadraceError, Unavailable
from headrace.fuse import Fuse
from headrace.spec.models import ConnectionSpec

_NEVER = 2**31


def few_at_once() -> Fuse:
    """For calls of databases: a server that takes connections and says nothing holds a thread for ten seconds a call."""
    return Fuse(
        "databases",
        "databases that are slow to answer",
        "Try again in a moment; `connections/{id}/tests` tells which are slow.",
        Unavailable,
        failures=_NEVER,
        rest=0,
        most=10,
        patience=0.5,
    )


def test(spec: ConnectionSpec) -> dict[str, Any]:
    """``{"ok", "version", "response_time_ms", "error"}`` of a login; error: why it failed, None when it did not."""
    began, version, failed = time.monotonic(), None, None
    where = login(spec)
    try:
        with connect(where) as conn, translated(where):
            (version,) = conn.execute("SELECT current_setting('server_version')").fetchone() or (None,)
    except HeadraceError as error:
        failed = error.as_dict()
    took = (time.monotonic() - began) * 1000
    return {
        "ok": failed is None,
        "version": version,
        "response_time_ms": round(took, 1),
        "error": failed,
    }


def tables(spec: ConnectionSpec) -> list[dict[str, Any]]:
    """The tables that can be seen, with columns, keys and estimates of rows and bytes."""
    where = login(spec)
    with connect(where) as conn, translated(where):
        return [table(found) for found in catalog.describe(conn)]


def table(found: Table) -> dict[str, Any]:
    """A table as answers show it; rows and bytes are estimates, None when unknown."""
    return {
        "name": str(found.name),
        "rows": found.rows if found.rows >= 0 else None,
        "bytes": found.bytes if found.bytes >= 0 else None,
        "key": list(found.key),
        "replica_identity": found.replica_identity,
        "partitioned": found.partitioned,
        "columns": [_column(column) for column in found.columns],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "nullable": column.nullable,
        "generated": column.generated is not None,
        "carriage": column.carriage,
    }
