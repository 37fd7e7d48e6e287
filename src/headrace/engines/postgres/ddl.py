"""Making a target table on PostgreSQL from a PostgreSQL source: statements, in order, ready to execute.

Statements are plain strings without parameters (``conn.execute(statement)``; a ``%`` in them is a ``%``). Every
name is quoted. Nothing here runs anything, except what takes a connection. ``known`` is what the target has
(``facts``); without it, whatever might be lacking there is left out.

What cannot be made is left out and told by ``findings``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.engines.model import Mapped, Route, TableName
from headrace.engines.postgres import expressions, shape
from headrace.engines.postgres.columns import (
    add_column,
    column_findings,
    column_sql,
    finish_column,
    needs_backfill,
    sequence_for,
    sequence_statements,
)
from headrace.engines.postgres.indexes import (
    check_findings,
    checks_constraints,
    finishing,
    foreign_keys,
    index_findings,
    indexes,
    rename_indexes,
)
from headrace.engines.postgres.names import literal, qualified, quoted, suffixed
from headrace.engines.postgres.prerequisites import prerequisite_findings, prerequisites
from headrace.engines.postgres.sequences import sequences
from headrace.engines.postgres.shape import Facts, facts
from headrace.engines.postgres.target_tables import compare, existing
from headrace.errors import Finding

__all__ = [
    "Facts",
    "add_column",
    "checks_constraints",
    "compare",
    "create_table",
    "drop_created",
    "existing",
    "facts",
    "findings",
    "finish_column",
    "finishing",
    "foreign_keys",
    "indexes",
    "needs_backfill",
    "prerequisite_findings",
    "prerequisites",
    "qualified",
    "rename_indexes",
    "sequences",
    "set_logged",
    "swap",
]


def create_table(
    route: Route, name: TableName | None = None, unlogged: bool = False, *, known: Facts | None = None
) -> list[str]:
    """The table with its sequences, partitions and comments, without indexes and constraints.

    name: another name than the route's target, for a shadow table that is swapped in later. Raises Invalid
    ``key_column_excluded``.
    """
    table = name or route.target
    columns = shape.made(route, known)
    parted = shape.partitioned(route, known)
    body = ",\n  ".join(column_sql(route, m, known) for m in columns)
    kind = "UNLOGGED TABLE" if unlogged and not parted else "TABLE"
    by = f" PARTITION BY {_partition_by(route, route.source.partition_key)}" if parted else ""
    return [
        *sequence_statements(route, known),
        f"CREATE {kind} {qualified(table)} (\n  {body}\n){by}",
        *(_partitions(route, table, unlogged) if parted else ()),
        *_comments(route, table, columns),
    ]


def findings(route: Route, known: Facts | None = None) -> list[Finding]:
    """Everything of the source table that the target does not get, each with the SQL to make it by hand."""
    return [
        *shape.generated_left_out(route, known),
        *column_findings(route, known),
        *_partition_findings(route, known),
        *index_findings(route, known),
        *check_findings(route, known),
    ]


def drop_created(routes: Sequence[Route]) -> list[str]:
    """Undo ``create_table``: the tables in one statement, then their sequences.

    Without CASCADE: what others hung on the tables stops it. Schemas and types stay, others may use them.
    """
    if not routes:
        return []
    tables = ", ".join(qualified(r.target) for r in routes)
    serials = sorted({qualified(s) for r in routes for m in r.columns if (s := sequence_for(r, m))})
    return [f"DROP TABLE IF EXISTS {tables}", *(f"DROP SEQUENCE IF EXISTS {s}" for s in serials)]


def swap(route: Route, name: TableName, *, known: Facts | None = None) -> list[str]:
    """Put the shadow table ``name`` (with its indexes) in the place of the target, in one transaction.

    Without CASCADE: a view or foreign key on the old table stops it with ``dependent_objects_still_exist``.
    """
    serials = sorted({qualified(s) for m in route.columns if (s := sequence_for(route, m))})
    moves = (
        []
        if name.schema == route.target.schema
        else [f"ALTER TABLE {qualified(name)} SET SCHEMA {quoted(route.target.schema)}"]
    )
    landed = TableName(route.target.schema, name.name)
    return [
        *(f"ALTER SEQUENCE {s} OWNED BY NONE" for s in serials),
        f"DROP TABLE {qualified(route.target)}",
        *moves,
        f"ALTER TABLE {qualified(landed)} RENAME TO {quoted(route.target.name)}",
        *_partition_renames(route, name, known),
        *rename_indexes(route, name, known=known),
    ]


def set_logged(route: Route, name: TableName | None = None, *, known: Facts | None = None) -> list[str]:
    """Make a table durable that was created ``unlogged``: before the swap, for it writes all of it to the WAL."""
    table = name or route.target
    if not shape.partitioned(route, known):
        return [f"ALTER TABLE {qualified(table)} SET LOGGED"]
    suffix = shape.shadow_suffix(route, table)
    leaves = [p for p, _, _, key in route.source.partitions if not key]
    return [f"ALTER TABLE {qualified(_partition_name(route, leaf, suffix))} SET LOGGED" for leaf in leaves]


def _comments(route: Route, table: TableName, columns: Sequence[Mapped]) -> Iterator[str]:
    if route.source.comment:
        yield f"COMMENT ON TABLE {qualified(table)} IS {literal(route.source.comment)}"
    for mapped in columns:
        if mapped.source.comment:
            yield (
                f"COMMENT ON COLUMN {qualified(table)}.{quoted(mapped.target)} IS {literal(mapped.source.comment)}"
            )


def _partition_by(route: Route, key: str | None) -> str:
    return expressions.renamed(key or "", shape.names(route))


def _partitions(route: Route, table: TableName, unlogged: bool) -> Iterator[str]:
    suffix = shape.shadow_suffix(route, table)
    for name, parent, bounds, key in route.source.partitions:
        above = table if parent == route.source.name else _partition_name(route, parent, suffix)
        kind = "UNLOGGED TABLE" if unlogged and not key else "TABLE"
        by = f" PARTITION BY {_partition_by(route, key)}" if key else ""
        own = qualified(_partition_name(route, name, suffix))
        yield f"CREATE {kind} {own} PARTITION OF {qualified(above)} {bounds}{by}"


def _partition_name(route: Route, partition: TableName, suffix: str) -> TableName:
    place = shape.moved(route, partition)
    return TableName(place.schema, suffixed(place.name, suffix))


def _partition_renames(route: Route, name: TableName, known: Facts | None) -> Iterator[str]:
    suffix = shape.shadow_suffix(route, name)
    if not suffix or not shape.partitioned(route, known):
        return
    for partition, _, _, _ in route.source.partitions:
        shadow = qualified(_partition_name(route, partition, suffix))
        yield f"ALTER TABLE {shadow} RENAME TO {quoted(shape.moved(route, partition).name)}"


def _partition_findings(route: Route, known: Facts | None) -> Iterator[Finding]:
    if route.source.partitioned and (reason := shape.partition_reason(route, known)):
        yield shape.left_out(route, "partitions", "partitioning", f"{reason}; it becomes a plain table")
