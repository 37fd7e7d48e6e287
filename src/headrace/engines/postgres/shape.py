"""What of a source table can exist on a PostgreSQL target, and what has to be left out and why.

Pure: enters a ``Route`` and what is known of the target, leaves decisions. The modules that write DDL ask here,
so that a table, its indexes and its checks never disagree about which columns there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.engines.model import Column, Mapped, Route, TableName
from headrace.engines.postgres import expressions
from headrace.engines.postgres.connection import Connection, translated
from headrace.errors import Finding, Invalid

# A mask that changes the type, and the type it makes.
MASK_TYPES = {"sha256": "text", "redact": "text"}


# A server built without ICU lists an ICU collation all the same (``unicode``), but not this one.
ICU_ROOT = "und-x-icu"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a target server has. version: ``server_version_num``; names: functions, types, operator classes and
    collations outside ``pg_catalog``; collations: those within it."""

    version: int
    names: frozenset[tuple[str, str]] = frozenset()
    collations: frozenset[str] = frozenset()

    def lacks(self, sql: str) -> set[tuple[str, str]]:
        """Names in an expression that the target does not have."""
        return expressions.foreign_names(sql) - self.names


_NAMES = """
SELECT n.nspname, o.name FROM (
  SELECT pronamespace AS space, proname AS name FROM pg_catalog.pg_proc
  UNION SELECT typnamespace, typname FROM pg_catalog.pg_type
  UNION SELECT opcnamespace, opcname FROM pg_catalog.pg_opclass
  UNION SELECT collnamespace, collname FROM pg_catalog.pg_collation
) o JOIN pg_catalog.pg_namespace n ON n.oid = o.space
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""

_COLLATIONS = f"""
SELECT collname FROM pg_catalog.pg_collation
WHERE collnamespace = 'pg_catalog'::regnamespace
  AND collencoding IN (-1, (SELECT encoding FROM pg_catalog.pg_database
                            WHERE datname = pg_catalog.current_database()))
  AND (collprovider <> 'i' OR EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collname = '{ICU_ROOT}'))
"""  # nosec B608  # constants


def facts(target: Connection) -> Facts:
    """Read what the target has; after the prerequisites were made, for they add to it."""
    with translated():
        names = target.execute(_NAMES).fetchall()
        collations = target.execute(_COLLATIONS).fetchall()
    return Facts(
        target.info.server_version,
        frozenset((schema, name) for schema, name in names),
        frozenset(name for (name,) in collations),
    )


def lacking(sql: str, known: Facts | None) -> set[tuple[str, str]]:
    """Names an expression needs and the target lacks; with an unknown target, every function it calls."""
    return known.lacks(sql) if known else expressions.foreign_calls(sql)


def target_type(mapped: Mapped) -> str:
    """The type that the column has on the target."""
    return MASK_TYPES.get(mapped.mask or "", mapped.source.type)


def names(route: Route) -> dict[str, str]:
    """Source name -> target name of the columns that exist on the target unmasked."""
    gone = hidden(route)
    return {m.source.name: m.target for m in route.columns if m.source.name not in gone}


def hidden(route: Route) -> set[str]:
    """Source columns that are not on the target with their own values: excluded, masked, or computed from such."""
    shown = {m.source.name for m in route.columns if not m.mask}
    gone = {c.name for c in route.source.columns} - shown
    return gone | {m.source.name for m in route.columns if _computed_from(m.source, gone)}


def _computed_from(column: Column, gone: set[str]) -> bool:
    return column.generated is not None and bool(expressions.columns_in(column.generated, gone))


def made(route: Route, known: Facts | None = None) -> tuple[Mapped, ...]:
    """The columns the target table gets. Raises Invalid ``key_column_excluded`` when the key is not among them."""
    check_key(route)
    return tuple(m for m in route.columns if not _reason_against(route, m, known))


def check_key(route: Route) -> None:
    """Raise Invalid ``key_column_excluded`` when a column of the key is excluded or masked."""
    gone = [name for name in route.key if name in hidden(route)]
    if gone:
        raise Invalid(
            "key_column_excluded",
            f"{route.source.name}: {', '.join(gone)} belongs to the key and is excluded or masked",
            "Keep the columns of the key as they are; changes could not be matched to rows without them.",
            {"table": str(route.source.name), "columns": gone},
        )


def generated_left_out(route: Route, known: Facts | None = None) -> Iterator[Finding]:
    """A finding for each generated column that cannot be made."""
    for mapped in route.columns:
        if reason := _reason_against(route, mapped, known):
            yield left_out(route, "generated", f"generated column {mapped.target!r}", reason)


def _reason_against(route: Route, mapped: Mapped, known: Facts | None) -> str:
    expression = mapped.source.generated
    if expression is None:
        return ""
    if mapped.source.name in hidden(route):
        return "it is computed from excluded or masked columns"
    if expressions.whole_row(expression):
        return "it uses the row as a whole"
    return lacking_reason(expression, known)


def lacking_reason(sql: str, known: Facts | None) -> str:
    """Why an expression cannot be used on the target, empty when it can."""
    absent = sorted(str(TableName(*name)) for name in lacking(sql, known))
    if not absent:
        return ""
    where = "which the target lacks" if known else "which the target may lack"
    return f"it needs {', '.join(absent)}, {where}"


def obstacle(route: Route, sql: str, known: Facts | None) -> str:
    """Why a definition over the table's columns cannot be made on the target, empty when it can."""
    missing = hidden(route) | (
        {m.source.name for m in route.columns} - {m.source.name for m in made(route, known)}
    )
    if touched := sorted(expressions.columns_in(sql, missing)):
        return f"it uses {', '.join(touched)}, excluded or masked"
    if expressions.whole_row(sql):
        return "it uses the row as a whole"
    return lacking_reason(sql, known)


def left_out(route: Route, kind: str, what: str, reason: str, fix: str | None = None) -> Finding:
    """The finding that something of the source table is not made on the target."""
    return Finding(
        code=f"{kind}_left_out",
        severity="info",
        side="target",
        message=f"{route.source.name}: {what} is not made on the target: {reason}",
        guidance="Nothing is lost in the data; make it yourself on the target if you need it.",
        fix=fix,
        subject=str(route.source.name),
    )


def partition_reason(route: Route, known: Facts | None) -> str:
    """Why the target cannot be partitioned like the source, empty when it can."""
    keys = [route.source.partition_key, *(key for _, _, _, key in route.source.partitions)]
    for key in filter(None, keys):
        if reason := obstacle(route, key, known):
            return reason
    return ""


def partitioned(route: Route, known: Facts | None) -> bool:
    """Whether the target table is partitioned like its source."""
    return route.source.partitioned and not partition_reason(route, known)


def moved(route: Route, name: TableName) -> TableName:
    """Where something that stands beside the source table goes: its schema moves along with the table's."""
    return TableName(route.target.schema, name.name) if name.schema == route.source.name.schema else name


def shadow_suffix(route: Route, name: TableName | None) -> str:
    """What names inside a shadow table end in, so that they do not meet those of the table itself."""
    if name is None or name == route.target:
        return ""
    return "_" + hashlib.sha256(str(name).encode()).hexdigest()[:6]
