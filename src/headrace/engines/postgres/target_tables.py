"""A target that is already there: what of it stands in the way of being written to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.engines.model import Column, Mapped, Route, Table, TableName
from headrace.engines.postgres import catalog, shape
from headrace.engines.postgres.columns import add_column
from headrace.engines.postgres.connection import Connection
from headrace.engines.postgres.names import listed, literal, qualified, quoted
from headrace.engines.postgres.rows import rows
from headrace.errors import Finding, Severity

# What a target column may be instead of the source's type without any value being refused or changed.
_WIDER = {
    "int2": {"int4", "int8", "numeric"},
    "int4": {"int8", "numeric"},
    "int8": {"numeric"},
    "varchar": {"text", "varchar"},
    "bpchar": {"bpchar"},
    "numeric": {"numeric"},
}

_EXISTING = """
SELECT n.nspname AS schema, c.relname AS name,
       CASE c.relkind WHEN 'r' THEN greatest(c.reltuples, 0)::bigint ELSE (
         SELECT coalesce(pg_catalog.sum(greatest(l.reltuples, 0)), 0)::bigint
         FROM pg_catalog.pg_partition_tree(c.oid) t
         JOIN pg_catalog.pg_class l ON l.oid = t.relid AND l.relkind = 'r') END AS estimate,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(names)s::text[])) AS w(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
"""


def existing(target: Connection, names: Sequence[TableName]) -> dict[TableName, int]:
    """Those of the names that are tables on the target: 0 when certainly empty, else about how many rows, at least 1.

    A table that may not be read counts as holding rows.
    """
    params = {"schemas": [n.schema for n in names], "names": [n.name for n in names]}
    found = {TableName(r["schema"], r["name"]): r for r in rows(target, _EXISTING, params)}
    readable = [name for name, row in found.items() if row["readable"]]
    empty = set(readable) - _filled(target, readable)
    return {name: 0 if name in empty else max(row["estimate"], 1) for name, row in found.items()}


def _filled(target: Connection, tables: Sequence[TableName]) -> set[TableName]:
    if not tables:
        return set()
    each = (
        f"SELECT {literal(t.schema)} AS schema, {literal(t.name)} AS name WHERE EXISTS (SELECT FROM {qualified(t)})"  # nosec B608  # quoted
        for t in tables
    )
    return {TableName(r["schema"], r["name"]) for r in rows(target, " UNION ALL ".join(each))}


def compare(target: Connection, route: Route) -> list[Finding]:
    """How an existing target table differs from what the route needs, as ``target_table_differs``.

    Errors are what would refuse or change rows; warnings what may; [] also when the table is not there. Triggers
    and foreign keys are checks of their own.
    """
    found = catalog.describe(target, [route.target])
    if not found:
        return []
    table = found[0]
    return [
        *_columns(route, table),
        *_extra_columns(route, table),
        *_key(route, table),
        *_extra_unique(route, table),
    ]


def _columns(route: Route, table: Table) -> Iterator[Finding]:
    there = {c.name: c for c in table.columns}
    for mapped in shape.made(route):
        column = there.get(mapped.target)
        if column is None:
            if mapped.source.generated is None:
                fix = add_column(route, mapped.source) + ";"
                yield _differs(route, "error", f"column {mapped.target!r} is missing", fix)
        elif mapped.source.generated is None:
            yield from _column(route, mapped, column)


def _column(route: Route, mapped: Mapped, there: Column) -> Iterator[Finding]:
    wanted = shape.target_type(mapped)
    alter = f"ALTER TABLE {qualified(route.target)} ALTER COLUMN {quoted(mapped.target)}"
    if there.generated is not None:
        fix = f"{alter} DROP EXPRESSION;" if not there.virtual else None
        yield _differs(route, "error", f"column {mapped.target!r} is generated and cannot be written", fix)
    if there.type != wanted and not _wider(mapped, there):
        message = f"column {mapped.target!r} is {there.type}, the source's is {wanted}"
        yield _differs(route, "error", message, f"{alter} TYPE {wanted};")
    if not there.nullable and mapped.source.nullable:
        message = f"column {mapped.target!r} is NOT NULL, the source's may be NULL"
        yield _differs(route, "error", message, f"{alter} DROP NOT NULL;")


def _wider(mapped: Mapped, there: Column) -> bool:
    """Whether the target's type takes every value of the source's unchanged."""
    source = mapped.source
    if mapped.mask or there.category.startswith("d") or there.type_schema != "pg_catalog":
        return False
    if there.base not in _WIDER.get(source.base, set()):
        return False
    if there.base == source.base:
        # Without a limit, or with a higher one of the same kind (a numeric's scale must not shrink either).
        longer = source.base == "varchar" and 0 <= source.typmod <= there.typmod
        return (
            source.type_schema == "pg_catalog" and source.base != "bpchar" and (there.typmod == -1 or longer)
        )
    return there.typmod == -1


def _extra_columns(route: Route, table: Table) -> Iterator[Finding]:
    written = {m.target for m in route.written}
    for column in table.columns:
        free = (
            column.nullable or column.default is not None or column.identity or column.generated is not None
        )
        if column.name not in written and not free:
            fix = f"ALTER TABLE {qualified(route.target)} ALTER COLUMN {quoted(column.name)} DROP NOT NULL;"
            yield _differs(
                route,
                "error",
                f"column {column.name!r} is NOT NULL without a default, and nothing writes it",
                fix,
            )


def _key(route: Route, table: Table) -> Iterator[Finding]:
    if not route.key:
        return
    targets = shape.names(route)
    wanted = {targets[name] for name in route.key}
    fit = (i for i in table.indexes if i.unique and i.valid and not i.partial and not i.deferrable)
    if not any(set(i.columns) == wanted for i in fit):
        columns = [targets[name] for name in route.key]
        fix = f"CREATE UNIQUE INDEX ON {qualified(route.target)} ({listed(columns)});"
        yield _differs(route, "error", f"no unique index on the key ({', '.join(columns)})", fix)


def _extra_unique(route: Route, table: Table) -> Iterator[Finding]:
    targets = shape.names(route)
    known = {frozenset(targets.get(c, "") for c in i.columns) for i in route.source.indexes if i.unique}
    for index in table.indexes:
        if index.unique and index.columns and not index.partial and frozenset(index.columns) not in known:
            message = f"unique index {index.name!r} has no like on the source and may refuse rows"
            yield _differs(route, "warning", message)


def _differs(route: Route, severity: Severity, message: str, fix: str | None = None) -> Finding:
    return Finding(
        code="target_table_differs",
        severity=severity,
        side="target",
        message=f"{route.target}: {message}",
        guidance="Change the target table, or choose another target name and let Headrace create it.",
        fix=fix,
        subject=str(route.target),
    )
