"""Sequences behind the columns: brought to the source's value, so that the target can take over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from headrace.engines.model import Route, TableName
from headrace.engines.postgres import shape
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.names import literal, qualified, quoted
from headrace.engines.postgres.rows import Row, rows
from headrace.errors import Denied

Positions = dict[tuple[str, str], tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class _Use:
    """A sequence of the source as a column uses it. owned: dropped together with the column."""

    route: Route
    column: str
    sequence: TableName
    owned: bool


_SOURCE = """
SELECT a.attrelid::bigint AS root, a.attname AS column, n.nspname AS schema, s.relname AS name,
       pg_catalog.bool_or(u.owned) AS owned,
       pg_catalog.format_type(q.seqtypid, NULL) AS type, q.seqincrement AS increment, q.seqmin AS low,
       q.seqmax AS high, q.seqstart AS start, q.seqcache AS cache, q.seqcycle AS cycle,
       pg_catalog.has_table_privilege(s.oid, 'SELECT')
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS readable
FROM (
    SELECT refobjid AS root, refobjsubid AS number, objid AS sequence, true AS owned
    FROM pg_catalog.pg_depend
    WHERE classid = 'pg_catalog.pg_class'::regclass AND refclassid = 'pg_catalog.pg_class'::regclass
      AND deptype IN ('a', 'i') AND refobjsubid > 0
  UNION ALL
    SELECT f.adrelid, f.adnum, d.refobjid, false
    FROM pg_catalog.pg_attrdef f
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass
) u
JOIN pg_catalog.pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
JOIN pg_catalog.pg_attribute a ON a.attrelid = u.root AND a.attnum = u.number
WHERE u.root = ANY(%(oids)s::oid[])
GROUP BY a.attrelid, a.attname, n.nspname, s.relname, q.seqrelid, q.seqtypid, q.seqincrement,
         q.seqmin, q.seqmax, q.seqstart, q.seqcache, q.seqcycle, s.oid, n.oid
ORDER BY n.nspname COLLATE "C", s.relname COLLATE "C", a.attrelid
"""

# pg_get_serial_sequence is asked only about columns that exist: of others it raises.
_TARGET = """
SELECT w.at, n.nspname AS schema, s.relname AS name,
       EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
               AND d.objid = s.oid AND d.deptype = 'i') AS identity,
       pg_catalog.format_type(q.seqtypid, NULL) AS type, q.seqincrement AS increment, q.seqmin AS low,
       q.seqmax AS high, q.seqstart AS start, q.seqcache AS cache, q.seqcycle AS cycle
FROM ROWS FROM (
  pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(tables)s::text[]),
  pg_catalog.unnest(%(columns)s::text[]), pg_catalog.unnest(%(sequences)s::text[])
) WITH ORDINALITY AS w(schema, "table", "column", sequence, at)
LEFT JOIN pg_catalog.pg_namespace tn ON tn.nspname = w.schema
LEFT JOIN pg_catalog.pg_class t ON t.relnamespace = tn.oid AND t.relname = w."table" AND t.relkind IN ('r', 'p')
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = w."column" AND NOT a.attisdropped
JOIN pg_catalog.pg_class s ON s.relkind = 'S' AND s.oid = coalesce(
  CASE WHEN a.attname IS NOT NULL THEN pg_catalog.pg_get_serial_sequence(
    pg_catalog.quote_ident(w.schema) || '.' || pg_catalog.quote_ident(w."table"), w."column")::regclass END,
  pg_catalog.to_regclass(w.sequence))
JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
"""


def sequences(source: Connection, target: Connection, routes: Sequence[Route]) -> list[str]:
    """Statements that bring the target's sequences to the source's settings, owner column and present value.

    Those of serial and identity columns, and those that defaults use. One that the target lacks is left out.
    Raises Denied ``missing_right`` when a sequence of the source may not be read.
    """
    used = _used(source, routes)
    values = _values(source, used)
    statements: list[str] = []
    for row, there in zip(used, _on_target(target, [_use(row, routes) for row in used]), strict=True):
        if there is not None:
            statements += _bring_up(row, there, _use(row, routes), *values[row["schema"], row["name"]])
    return list(dict.fromkeys(statements))


def positions(source: Connection, routes: Sequence[Route]) -> Positions:
    """Where the sequences behind these tables stand on the source: (schema, name) -> last value, whether it was given.

    Raises Denied ``missing_right`` when one may not be read.
    """
    return _values(source, _used(source, routes))


def following(source: Connection, target: Connection, routes: Sequence[Route]) -> list[str]:
    """Statements that move the target's sequences on to where the source's stand; never back.

    Whoever writes to the target already may have gone further.
    """
    used = _used(source, routes)
    values = _values(source, used)
    statements = []
    for row, there in zip(used, _on_target(target, [_use(row, routes) for row in used]), strict=True):
        if there is None:
            continue
        value, called = values[row["schema"], row["name"]]
        name = qualified(TableName(there["schema"], there["name"]))
        given = "true" if called else "false"
        beyond = "<" if row["increment"] > 0 else ">"
        statements.append(
            f"SELECT pg_catalog.setval({literal(name)}::regclass, {value}, {given}) FROM {name}"  # nosec B608  # names are quoted, the rest is numbers
            f" WHERE last_value {beyond} {value} OR (last_value = {value} AND is_called < {given})"
        )
    return list(dict.fromkeys(statements))


def _bring_up(row: Row, there: Row, use: _Use, value: int, called: bool) -> list[str]:
    name = TableName(there["schema"], there["name"])
    text = qualified(name)
    statements = []
    if _settings(row) != _settings(there):
        # The present value must not lie outside the new bounds, not even for a moment.
        statements.append(f"ALTER SEQUENCE {text} {_settings(row)} RESTART WITH {row['start']}")
    if use.owned and not there["identity"] and name.schema == use.route.target.schema:
        owner = f"{qualified(use.route.target)}.{quoted(use.column)}"
        statements.append(f"ALTER SEQUENCE {text} OWNED BY {owner}")
    at = f"{value}, {'true' if called else 'false'}"
    statements.append(f"SELECT pg_catalog.setval({literal(text)}::regclass, {at})")
    return statements


def followed(routes: Iterable[Route]) -> set[tuple[int, str]]:
    """The columns (oid of the table, name) whose sequences the target's follow: what is masked is not the source's."""
    return {(r.source.oid, m.source.name) for r in routes for m in r.columns if not m.mask}


def unreadable(source: Connection, columns: Collection[tuple[int, str]]) -> list[TableName]:
    """The sequences behind columns (oid of the table, name) that this user may not read, in order."""
    return _denied(_behind(source, columns))


def reading_right(names: Collection[TableName], user: str) -> str:
    """The SQL that lets a user read sequences."""
    schemas = ", ".join(quoted(s) for s in sorted({n.schema for n in names}))
    listed = ", ".join(map(qualified, names))
    return f"GRANT USAGE ON SCHEMA {schemas} TO {quoted(user)};\nGRANT SELECT ON SEQUENCE {listed} TO {quoted(user)};"


def _used(source: Connection, routes: Sequence[Route]) -> list[Row]:
    used = _behind(source, followed(routes))
    if denied := _denied(used):
        raise Denied(
            "missing_right",
            f"may not read the sequences {', '.join(map(str, denied))} of the source",
            reading_right(denied, source.info.user),
            {"sequences": list(map(str, denied))},
        )
    return used


def _behind(source: Connection, columns: Collection[tuple[int, str]]) -> list[Row]:
    found = rows(source, _SOURCE, {"oids": sorted({oid for oid, _ in columns})})
    return [row for row in found if (row["root"], row["column"]) in columns]


def _denied(used: Sequence[Row]) -> list[TableName]:
    return sorted({TableName(r["schema"], r["name"]) for r in used if not r["readable"]})


def _use(row: Row, routes: Sequence[Route]) -> _Use:
    route = next(r for r in routes if r.source.oid == row["root"])
    column = shape.names(route)[row["column"]]
    sequence = shape.moved(route, TableName(row["schema"], row["name"]))
    return _Use(route, column, sequence, row["owned"])


def _values(source: Connection, used: Sequence[Row]) -> Positions:
    names = sorted({(r["schema"], r["name"]) for r in used})
    if not names:
        return {}
    each = (
        f"SELECT {literal(schema)} AS schema, {literal(name)} AS name, last_value, is_called"
        f" FROM {qualified(TableName(schema, name))}"  # nosec B608  # quoted
        for schema, name in names
    )
    found = rows(source, " UNION ALL ".join(each))
    return {(r["schema"], r["name"]): (r["last_value"], r["is_called"]) for r in found}


def _on_target(target: Connection, uses: Sequence[_Use]) -> list[Row | None]:
    params = {
        "schemas": [u.route.target.schema for u in uses],
        "tables": [u.route.target.name for u in uses],
        "columns": [u.column for u in uses],
        "sequences": [qualified(u.sequence) for u in uses],
    }
    found: list[Row | None] = [None] * len(uses)
    for row in rows(target, _TARGET, params):
        found[row["at"] - 1] = row
    return found


def _settings(row: Row) -> str:
    return (
        f"AS {row['type']} INCREMENT BY {row['increment']} MINVALUE {row['low']} MAXVALUE {row['high']}"
        f" START WITH {row['start']} CACHE {row['cache']}"
        f" {'CYCLE' if row['cycle'] else 'NO CYCLE'}"
    )
