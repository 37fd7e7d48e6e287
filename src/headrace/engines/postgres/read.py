"""Reading a PostgreSQL source: ranges of one snapshot as COPY streams, and rows by key as text."""

from __future__ import annotations

import selectors
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import RawCursor, errors, sql
from psycopg.pq import ExecStatus

from headrace.engines.model import Column, Cut, Mapped, Route, TableName
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.engines.postgres.cut import coverage
from headrace.engines.postgres.masks import mask_expression
from headrace.engines.postgres.types import BINARY
from headrace.errors import Bug

PAGES_PER_RANGE = 4096  # 32 MiB
BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks ``[first, last)`` of one physical relation; ``last`` None is open-ended."""

    number: int
    leaf: TableName
    first: int
    last: int | None


def ranges(route: Route, tid_scan: bool) -> list[Range]:
    """The ranges that together hold every row of the table.

    tid_scan: whether the server scans only the blocks asked for (PostgreSQL 14 and later); without it a
    relation is one range.
    """
    found: list[Range] = []
    for leaf in route.source.leaves:
        starts = range(0, max(leaf.pages, 1), PAGES_PER_RANGE) if tid_scan else range(1)
        edges: list[int | None] = [*starts[1:], None]
        for first, last in zip(starts, edges, strict=True):
            found.append(Range(len(found), leaf.name, first, last))
    return found


def has_tid_scan(conn: Connection) -> bool:
    """Whether ctid ranges are read without scanning the whole relation."""
    return conn.info.server_version >= 140000


def binary_safe(route: Route) -> bool:
    """Whether COPY BINARY carries the row between servers: no value may embed ids that differ between them."""
    return all(m.mask is not None or _free_of_ids(m.source) for m in route.written)


def _free_of_ids(column: Column) -> bool:
    if column.category.startswith("e"):
        return True
    if column.base.startswith("_"):
        return column.base[1:] in BINARY and column.type_schema == "pg_catalog"
    return column.base in BINARY


def open_worker(login: Login, snapshot: str) -> Connection:
    """A connection inside the exported snapshot."""
    conn = connect(login, name="headrace load")
    with translated():
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    return conn


def select(route: Route, part: Range) -> sql.Composed:
    """The query of one range: written columns in order, masks and row filter applied."""
    conditions = [sql.SQL("t.ctid >= {}").format(sql.Literal(f"({part.first},0)"))]
    if part.last is not None:
        conditions.append(sql.SQL("t.ctid < {}").format(sql.Literal(f"({part.last},0)")))
    if part.first == 0 and part.last is None:
        conditions = []
    if route.where:
        conditions.append(sql.SQL("({})").format(sql.SQL(_literal_sql(route.where))))
    return sql.SQL("SELECT {} FROM ONLY {} t{}").format(
        sql.SQL(", ").join(_expression(m) for m in route.written),
        sql.Identifier(part.leaf.schema, part.leaf.name),
        sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL(""),
    )


def _literal_sql(text: str) -> Any:
    return text


def _expression(mapped: Mapped) -> sql.Composable:
    column = sql.SQL("t.{}").format(sql.Identifier(mapped.source.name))
    if mapped.mask is None:
        return column
    return sql.SQL(_literal_sql(mask_expression(column.as_string(None), mapped.mask, mapped.source)))


def copy_out(conn: Connection, query: sql.Composed, binary: bool) -> Iterator[bytearray]:
    """Blocks of a COPY TO STDOUT, gathered to ``BLOCK`` bytes.

    Below psycopg's own iteration: a tight loop over libpq costs a quarter of it per row.
    """
    copy = sql.SQL("COPY ({}) TO STDOUT{}").format(query, sql.SQL(" (FORMAT BINARY)" if binary else ""))
    with translated():
        started = conn.pgconn.exec_(copy.as_bytes(conn))
        if started.status != ExecStatus.COPY_OUT:
            raise errors.error_from_result(started, encoding="utf-8")
        yield from _copied(conn)


def _copied(conn: Connection) -> Iterator[bytearray]:
    pgconn = conn.pgconn
    get = pgconn.get_copy_data
    waiting = selectors.DefaultSelector()
    waiting.register(pgconn.socket, selectors.EVENT_READ)
    block = bytearray()
    done = False
    try:
        # Not the blocking form: that would hold the interpreter lock while the server thinks.
        while True:
            size, data = get(1)
            if size > 0:
                block += data
                if len(block) >= BLOCK:
                    yield block
                    block = bytearray()
            elif size == 0:
                waiting.select()
                pgconn.consume_input()
            else:
                done = True
                break
        if block:
            yield block
        while (result := pgconn.get_result()) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding="utf-8")
            if result.status != ExecStatus.COMMAND_OK:
                # Asked on, a second COPY would answer the same for ever.
                done = False
                raise Bug("copy_twice", f"COPY was followed by {ExecStatus(result.status).name}")
    finally:
        waiting.close()
        if not done:
            # Abandoned in the middle: the connection cannot be used for anything else.
            conn.close()


def reread(
    conn: Connection, route: Route, columns: Sequence[int], keys: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], tuple[str | None, ...]]]:
    """Key and values of some written columns as text, for rows that the source (still) has, one by one.

    columns: indexes into ``route.written``. keys: key values in the form events carry them (decoded). A key
    that is absent from the answer has no row now, or one outside the row filter.
    """
    key_columns = [route.source.column(k) for k in route.key]
    arrays = [[_text(key[i]) for key in keys] for i in range(len(key_columns))]
    unnest = sql.SQL(", ").join(
        sql.SQL("{}::text[]::{}[]").format(sql.SQL(_literal_sql(f"${n}")), sql.SQL(_literal_sql(c.type)))
        for n, c in enumerate(key_columns, 1)
    )
    names = [sql.Identifier(f"k{i}") for i in range(len(key_columns))]
    join = sql.SQL(" AND ").join(
        sql.SQL("t.{} {} k.{}").format(sql.Identifier(c.name), equality(c), n)
        for c, n in zip(key_columns, names, strict=True)
    )
    wanted = [route.written[i] for i in columns]
    only = sql.SQL("") if route.source.partitioned else sql.SQL("ONLY ")
    query = sql.SQL("SELECT k.n{} FROM unnest({}) WITH ORDINALITY k({}, n) JOIN {}{} t ON {}{}").format(
        sql.SQL("").join(sql.SQL(", {}").format(_output(_expression(m))) for m in wanted),
        unnest,
        sql.SQL(", ").join(names),
        only,
        sql.Identifier(route.source.name.schema, route.source.name.name),
        join,
        sql.SQL(" WHERE ({})").format(sql.SQL(_literal_sql(route.where))) if route.where else sql.SQL(""),
    )
    # Raw: a per cent sign in a name or a row filter is no placeholder.
    with translated(), RawCursor(conn) as cursor:
        for row in cursor.stream(query, arrays):
            yield keys[int(row[0]) - 1], tuple(row[1:])


def invisible(conn: Connection, xids: Collection[int]) -> list[int]:
    """Those of these committed transactions (32-bit ids, as events carry them) that a query does not see yet.

    A commit is in the log, and streamed, before it is visible: by moments, or for as long as it waits for a
    synchronous standby. What is read by key in between is older than the event that asks for it.
    """
    with translated():
        row = conn.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    seen = coverage(Cut(snapshot=row[0], position=1, server=""))
    return [xid for xid in xids if not seen(0, xid)]


def _output(value: sql.Composable) -> sql.Composed:
    # A cast to text is not always what the type prints: it trims char(n), and a user may have made his own.
    return sql.SQL("CASE WHEN {} IS DISTINCT FROM NULL THEN concat({}) END").format(value, value)


def equality(column: Column) -> sql.Composable:
    """The equality operator of a key column, whatever schema its type's operators live in."""
    if column.base in ("citext", "ltree") and column.type_schema != "pg_catalog":
        return sql.SQL("OPERATOR({}.=)").format(sql.Identifier(column.type_schema))
    return sql.SQL("=")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
