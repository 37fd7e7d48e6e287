"""The soak's own comparison: both sides as text, each table a multiset of rows."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import psycopg

from support.lab import Lab, Pair, dsn, until
from support.soak_schema import Table, quoted

Conn = psycopg.Connection[Any]


def columns(conn: Conn, table: Table) -> list[str]:
    """Names of the table's columns, in the order of the source."""
    found = conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table.sql],
    ).fetchall()
    return [name for (name,) in found]


class Audit:
    """Compares the two databases."""

    def __init__(self, lab: Lab, pair: Pair, tables: list[Table]) -> None:
        self._lab, self._pair, self._tables = lab, pair, tables

    def connect(self) -> tuple[Conn, Conn]:
        """New connections: servers were killed."""
        return tuple(  # type: ignore[return-value]
            psycopg.connect(dsn(server, self._pair.name) + " ", autocommit=True)
            for server in (self._lab.source, self._lab.target)
        )

    def differing(self) -> list[Table]:
        """Tables whose rows are not the same now."""
        source, target = self.connect()
        with source, target:
            return [t for t in self._tables if not self._same(source, target, t)]

    def _same(self, source: Conn, target: Conn, table: Table) -> bool:
        try:
            names = columns(source, table)
            return _sum(source, table, names) == _sum(target, table, names)
        except psycopg.errors.Error:
            return False

    def equal(self, seconds: float) -> list[Table]:
        """Wait until all is equal; what is not by then."""
        left: list[Table] = []

        def look() -> bool:
            left[:] = self.differing()
            return not left

        with suppress(AssertionError):
            until(look, seconds)
        return left

    def explain(self, table: Table) -> str:
        """What differs, row by row and column by column."""
        source, target = self.connect()
        with source, target:
            names = columns(source, table)
            try:
                ours, theirs = (_rows(conn, table, names) for conn in (source, target))
            except psycopg.Error as error:
                return f"{table.sql}: {error}"
        missing, extra = list((ours - theirs).elements()), list((theirs - ours).elements())
        told = [f"{table.sql}: {sum(ours.values())} rows, {sum(theirs.values())} on the target;"]
        told.append(f"{len(missing)} missing, {len(extra)} extra; key {[c.name for c, _ in table.keys]}")
        keys = [names.index(c.name) for c, _ in table.keys]
        by_key = {tuple(r[k] for k in keys): r for r in extra} if keys else {}
        for row in missing[:6]:
            key = tuple(row[k] for k in keys)
            twin = by_key.get(key)
            if keys and twin is not None:
                which = [
                    (n, (a or "NULL")[:60], (b or "NULL")[:60])
                    for n, a, b in zip(names, row, twin, strict=True)
                    if a != b
                ]
                told.append(f"  {key} differs in (column, source, target) {which}")
            else:
                told.append(f"  missing {key or [(v or 'NULL')[:40] for v in row]}")
        told += [f"  extra {tuple(r[k] for k in keys) or [(v or 'NULL')[:40] for v in r]}" for r in extra[:6]]
        return "\n".join(told)


def _text(name: str) -> str:
    return f"CASE WHEN {quoted(name)} IS NOT DISTINCT FROM NULL THEN NULL ELSE concat({quoted(name)}) END"


def _sum(conn: Conn, table: Table, names: list[str]) -> Any:
    row = f"ROW({', '.join(quoted(n) for n in names)})::text"
    statement = (
        f"SELECT count(*), sum(('x' || substr(md5({row}), 1, 15))::bit(60)::bigint::numeric) FROM {table.sql}"
    )
    return conn.execute(statement.encode()).fetchone()


def _rows(conn: Conn, table: Table, names: list[str]) -> Counter[tuple[str | None, ...]]:
    return Counter(
        conn.execute(f"SELECT {', '.join(map(_text, names))} FROM {table.sql}".encode()).fetchall()
    )
