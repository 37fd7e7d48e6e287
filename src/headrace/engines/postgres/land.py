"""Landing: what a load brought becomes the table, in one transaction with its progress.

``merge`` writes only the differences, so that readers of the target never see an empty table and nothing that
hangs on it is dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress

import psycopg
from psycopg import sql

from headrace.engines.model import Route, TableName
from headrace.engines.postgres.connection import Connection, translated
from headrace.engines.postgres.read import equality

# Types whose equal values are printed the same; a key of theirs (it may be an identity) is never written again.
_ONE_TEXT = frozenset(
    "bool int2 int4 int8 oid uuid date timestamp timestamptz macaddr macaddr8 bytea".split()
)


def shadow_name(pipeline: str, source: TableName) -> TableName:
    """Name of the table that a reload of this source table fills, in Headrace's own schema."""
    digest = hashlib.sha256(f"{pipeline}\0{source}".encode()).hexdigest()[:16]
    return TableName("headrace", f"shadow_{digest}")


def drop_shadows(conn: Connection, pipeline: str, sources: Sequence[TableName]) -> None:
    """Drop what reloads of these tables may have left."""
    for source in sources:
        drop_table(conn, shadow_name(pipeline, source))


def make_shadow(conn: Connection, route: Route, shadow: TableName) -> None:
    """An empty table with the written columns of the target and nothing else."""
    with translated(), conn.transaction():
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_ident(shadow)))
        conn.execute(
            sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                _ident(shadow), _columns(route), _ident(route.target)
            )
        )


def drop_table(conn: Connection, name: TableName) -> None:
    """Drop a table if it is there; without CASCADE."""
    with translated():
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_ident(name)))


def empty(conn: Connection, name: TableName) -> None:
    """Remove every row; TRUNCATE unless foreign keys forbid it."""
    with translated():
        try:
            with conn.transaction():
                conn.execute(sql.SQL("TRUNCATE {}").format(_ident(name)))
        except psycopg.errors.FeatureNotSupported:
            conn.execute(sql.SQL("DELETE FROM {}").format(_ident(name)))


def merge(conn: Connection, route: Route, shadow: TableName) -> None:
    """Make the target equal to the shadow table, writing only what differs, inside the open transaction."""
    with translated():
        if not route.key:
            _replace_all(conn, route, shadow)
            return
        try:
            with conn.transaction():
                _differences(conn, route, shadow)
        except psycopg.errors.UniqueViolation:
            # Unique values changed places between rows.
            _replace_all(conn, route, shadow)


def _differences(conn: Connection, route: Route, shadow: TableName) -> None:
    f = sql.SQL
    by_source = {m.source.name: m.target for m in route.written}
    keys = [(sql.Identifier(by_source[k]), equality(route.source.column(k))) for k in route.key]
    parts: list[sql.Composable] = [f("t.{} {} s.{}").format(k, eq, k) for k, eq in keys]
    same = f(" AND ").join(parts)
    # Keys as well: 1.0 and 1.00 are one key, but not the same.
    exact = {by_source[k] for k in route.key if route.source.column(k).base in _ONE_TEXT}
    rest = [sql.Identifier(m.target) for m in route.written if m.target not in exact]
    _advise(conn, shadow)
    conn.execute(
        f("DELETE FROM {} t WHERE NOT EXISTS (SELECT 1 FROM {} s WHERE {})").format(
            _ident(route.target), _ident(shadow), same
        )
    )
    if rest:
        names: list[sql.Composable] = [f("{} = excluded.{}").format(n, n) for n in rest]
        ours, theirs = (f(", ").join([f("{}.{}").format(f(a), n) for n in rest]) for a in ("t", "excluded"))
        action = f("UPDATE SET {} WHERE ROW({})::text IS DISTINCT FROM ROW({})::text").format(
            f(", ").join(names), ours, theirs
        )
    else:
        action = f("NOTHING").format()
    conn.execute(
        f("INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
            _ident(route.target),
            _columns(route),
            _columns(route),
            _ident(shadow),
            f(", ").join([k for k, _ in keys]),
            action,
        )
    )


def _advise(conn: Connection, name: TableName) -> None:
    """ANALYZE, as advice only: it refuses values that a column holds (ranges of numbers beyond float8)."""
    with suppress(psycopg.errors.DataError), conn.transaction():
        conn.execute(sql.SQL("ANALYZE {}").format(_ident(name)))


def _replace_all(conn: Connection, route: Route, shadow: TableName) -> None:
    conn.execute(sql.SQL("DELETE FROM {}").format(_ident(route.target)))
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
            _ident(route.target), _columns(route), _columns(route), _ident(shadow)
        )
    )


def count(conn: Connection, name: TableName) -> int:
    """Rows of a table."""
    with translated():
        row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(_ident(name))).fetchone()
    assert row is not None
    return int(row[0])


def exists(conn: Connection, name: TableName) -> bool:
    """Whether there is a table (or anything else) of that name."""
    with translated():
        row = conn.execute(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            [name.schema, name.name],
        ).fetchone()
    return row is not None


def _ident(name: TableName) -> sql.Identifier:
    return sql.Identifier(name.schema, name.name)


def _columns(route: Route) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(m.target) for m in route.written])
