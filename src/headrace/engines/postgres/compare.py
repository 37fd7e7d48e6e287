"""One side of a PostgreSQL table for comparison: bucket checksums, ordered streams, lookups by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from headrace.engines.compare import Bucket, Found, Key, Pair, StreamRow, Version
from headrace.engines.model import Mapped, Route, TableName
from headrace.engines.postgres import compare_sql as sql
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.engines.postgres.masks import mask_expression
from headrace.engines.postgres.names import qualified, quoted
from headrace.errors import NotFound, Precondition

_BLOCK = 10_000  # rows per fetch of a stream
_LOOKUP = 1_000  # keys per lookup query by index
_LOOKUP_SCAN = 50_000  # hashes per lookup query of a keyless table, each of which is a scan

# A policy must not hide rows from the scan without an error.
_OPTIONS: dict[str, Any] = {
    "default_transaction_read_only": "on",
    "row_security": "off",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    generated: bool
    equals: str


@dataclass(frozen=True, slots=True)
class _Relation:
    name: TableName
    oid: int
    partitioned: bool
    columns: dict[str, _Column]


class PostgresSide:
    """Implements ``engines.compare.Side``. One connection; not for use by several threads at once."""

    def __init__(self, conn: Connection, login: Login, oid: int, shape: sql.Shape) -> None:
        self._conn = conn
        self._login = login
        self._oid = oid
        self._shape = shape
        self._width = len(shape.key) or 1

    def estimate(self) -> int:
        """About how many rows the table has, before any row filter."""
        with translated(self._login):
            row = self._conn.execute(sql.ESTIMATE, {"oid": self._oid}).fetchone()
        return int(row[0]) if row else 0

    def buckets(self, count: int) -> Iterator[tuple[int, Bucket]]:
        """See ``Side``. A plain statement, so that the server may scan in parallel (for a cursor it does not)."""
        with translated(self._login):
            found = self._conn.execute(self._shape.buckets(count), ())
            for number, rows, checksum in found:
                yield number, Bucket(rows, int(checksum))

    @contextmanager
    def stream(self, count: int, wanted: Sequence[int]) -> Iterator[Iterator[Sequence[StreamRow]]]:
        """See ``Side``."""
        with translated(self._login), self._conn.transaction():
            self._conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with self._conn.cursor(name="headrace_verify") as cursor:
                cursor.execute(self._shape.stream(count), (_bitmap(count, wanted),))
                yield _blocks(cursor)

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Found]:
        """See ``Side``."""
        rows: dict[Key, list[tuple[str, int]]] = {}
        stamps: dict[Key, int] = {}
        for *parts, row_hash, count, stamp in self._asked(self._shape.lookup(), keys):
            key = tuple(parts)
            rows.setdefault(key, []).append((row_hash, count))
            stamps[key] = stamps.get(key, 0) + stamp
        return {key: Found(_version(found), stamps[key]) for key, found in rows.items()}

    def columns(self, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """See ``Side``; nothing for keyless tables."""
        if not self._shape.key:
            return {}
        return self._arrays(self._shape.columns(), keys)

    def excerpt(self, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        """See ``Side``."""
        return self._arrays(self._shape.excerpt(), keys)

    def _arrays(self, query: str, keys: Sequence[Key]) -> dict[Key, tuple[Any, ...]]:
        return {tuple(parts): tuple(values) for *parts, values in self._asked(query, keys)}

    def _asked(self, query: str, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
        size = _LOOKUP if self._shape.key else _LOOKUP_SCAN
        for start in range(0, len(keys), size):
            chunk = keys[start : start + size]
            arrays = [[key[at] for key in chunk] for at in range(self._width)]
            with translated(self._login):
                yield from self._conn.execute(query, arrays).fetchall()


def _version(found: list[tuple[str, int]]) -> Version:
    if len(found) == 1:
        return tuple(found)
    totals: dict[str, int] = {}
    for row_hash, count in found:
        totals[row_hash] = totals.get(row_hash, 0) + count
    return tuple(sorted(totals.items()))


def _blocks(cursor: Any) -> Iterator[Sequence[StreamRow]]:
    while block := cursor.fetchmany(_BLOCK):
        yield cast(Sequence[StreamRow], block)


def _bitmap(count: int, wanted: Sequence[int]) -> bytes:
    """Bit n as ``get_bit(bytea, n)`` reads it; membership costs the same however many are wanted."""
    bits = bytearray((count + 7) // 8)
    for number in wanted:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)


@contextmanager
def opened(source: Login, target: Login, route: Route) -> Iterator[Pair]:
    """Both sides of the table of a route.

    Compared are the written columns, and generated ones that are generated on both sides. Raises NotFound
    without one of the tables, Precondition without one of the columns, and what ``connect`` raises.
    """
    with _session(source) as left, _session(target) as right:
        ours = _relation(left, source, route.source.name)
        theirs = _relation(right, target, route.target)
        columns = _compared(route, ours, theirs)
        key = _key(route)
        from_source = _source_shape(route, ours, columns, key, _utf8(left))
        from_target = _target_shape(theirs, columns, key, _utf8(right))
        yield Pair(
            source=PostgresSide(left, source, ours.oid, from_source),
            target=PostgresSide(right, target, theirs.oid, from_target),
            names=tuple(m.source.name for m in columns),
            key=tuple(m.source.name for m in key),
            repairable=bool(key) and all(m.mask is None for m in key),
        )


@contextmanager
def _session(login: Login) -> Iterator[Connection]:
    with connect(login, name="headrace-verify", **_OPTIONS) as conn:
        # A plan must know the keys it looks up; a prepared one would not.
        conn.prepare_threshold = None
        yield conn


def _utf8(conn: Connection) -> bool:
    return conn.info.parameter_status("server_encoding") == "UTF8"


def _relation(conn: Connection, login: Login, name: TableName) -> _Relation:
    with translated(login):
        rows = conn.execute(sql.CATALOG, (name.schema, name.name)).fetchall()
    if not rows:
        raise NotFound(
            "no_such_table",
            f"{login.host}:{login.port}/{login.database}: there is no table {name}.",
            "It is gone or was renamed, or this user may not see its schema; resync it or leave it out.",
            {"table": str(name)},
        )
    columns = {r[2]: _Column(r[3], r[4], r[5] or "=") for r in rows if r[2] is not None}
    return _Relation(name, rows[0][0], rows[0][1] == "p", columns)


def _compared(route: Route, ours: _Relation, theirs: _Relation) -> list[Mapped]:
    written = list(route.written)
    _demand(ours, [m.source.name for m in written])
    _demand(theirs, [m.target for m in written])
    return [
        m
        for m in route.columns
        if m.source.generated is None
        or (m.mask is None and _generated(ours, m.source.name) and _generated(theirs, m.target))
    ]


def _generated(relation: _Relation, name: str) -> bool:
    column = relation.columns.get(name)
    return column is not None and column.generated


def _demand(relation: _Relation, names: list[str]) -> None:
    if lacking := [n for n in names if n not in relation.columns]:
        raise Precondition(
            "no_such_column",
            f"{relation.name} has no column {', '.join(lacking)}.",
            "The table changed since it was loaded; resync it.",
            {"table": str(relation.name), "columns": lacking},
        )


def _key(route: Route) -> tuple[Mapped, ...]:
    """The mapped key columns; none when one of them does not arrive or its mask makes rows the same."""
    by_name = {m.source.name: m for m in route.written if m.mask in {None, "sha256"}}
    if not all(name in by_name for name in route.key):
        return ()
    return tuple(by_name[name] for name in route.key)


def _source_shape(
    route: Route, relation: _Relation, columns: list[Mapped], key: tuple[Mapped, ...], utf8: bool
) -> sql.Shape:
    def value(m: Mapped) -> str:
        return mask_expression(quoted(m.source.name), m.mask, m.source)

    def part(m: Mapped) -> sql.KeyPart:
        name = m.source.name
        return sql.KeyPart(f"({value(m)})::text", None if m.mask else _typed(name, relation.columns[name]))

    values = tuple(value(m) for m in columns)
    return _shape(relation, values, tuple(part(m) for m in key), route.where, utf8)


def _target_shape(
    relation: _Relation, columns: list[Mapped], key: tuple[Mapped, ...], utf8: bool
) -> sql.Shape:
    parts = tuple(
        sql.KeyPart(f"({quoted(m.target)})::text", _typed(m.target, relation.columns[m.target])) for m in key
    )
    return _shape(relation, tuple(quoted(m.target) for m in columns), parts, None, utf8)


def _shape(
    relation: _Relation,
    values: tuple[str, ...],
    key: tuple[sql.KeyPart, ...],
    where: str | None,
    utf8: bool,
) -> sql.Shape:
    # Partitions belong to the table; children by plain inheritance do not.
    return sql.Shape(qualified(relation.name), not relation.partitioned, values, key, where, utf8)


def _typed(name: str, column: _Column) -> str:
    return f"{_braced(quoted(name))} {_braced(column.equals)} {{}}::{_braced(column.type)}"


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
